"""Fills the glossary's page from the classes."""

from jaxsnn.codesign import glossary


def on_page_markdown(markdown: str, page, config, files) -> str:
    return markdown.replace("{{ glossary }}", glossary.markdown())
