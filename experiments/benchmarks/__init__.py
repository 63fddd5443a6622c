"""Every performance claim of the project, measured side by side with its peers."""
