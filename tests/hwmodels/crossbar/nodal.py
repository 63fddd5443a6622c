"""A second opinion on the circuit: textbook nodal analysis, sparse, refined in extended precision."""

import numpy as np
import scipy.sparse
import scipy.sparse.csgraph
import scipy.sparse.linalg


def nodal(G, driver, row, column, sense, inputs=None):
    """Effective conductances of one tile in float64, of the chosen rows (default all).

    Zero resistances merge nodes, infinite ones are left out.
    """
    G = np.asarray(G, dtype=np.float64)
    rows, columns = G.shape
    row_node = np.arange(rows * columns).reshape(rows, columns)
    column_node = row_node + rows * columns
    ground = 2 * rows * columns
    source = ground + 1 + np.arange(rows)
    count = ground + 1 + rows
    resistors = [(driver, source, row_node[:, 0]), (sense, column_node[-1], np.full(columns, ground))]
    resistors += [(row, row_node[:, j], row_node[:, j + 1]) for j in range(columns - 1)]
    resistors += [(column, column_node[i], column_node[i + 1]) for i in range(rows - 1)]

    joined = [(a, b) for r, a, b in resistors if r == 0]
    a, b = (np.concatenate([pair[end] for pair in joined] or [np.array([], int)]) for end in (0, 1))
    merged = _groups(a, b, count)
    edges = [(np.full(len(a), 1 / r), a, b) for r, a, b in resistors if 0 < r < np.inf]
    edges.append((G.ravel(), row_node.ravel(), column_node.ravel()))
    g, a, b = (np.concatenate(part) for part in zip(*edges, strict=True))
    g, a, b = g[g > 0].astype(np.longdouble), merged[a[g > 0]], merged[b[g > 0]]

    fixed = merged[np.append(source, ground)]
    islands = _groups(a, b, merged.max() + 1)
    free = np.isin(islands, islands[fixed]) & ~np.isin(np.arange(len(islands)), fixed)
    inputs = range(rows) if inputs is None else inputs
    voltage = np.zeros((len(islands), len(inputs)), np.longdouble)
    voltage[merged[source[list(inputs)]], np.arange(len(inputs))] = 1
    laplacian = scipy.sparse.coo_matrix(
        (np.concatenate([g, g, -g, -g]).astype(float), (np.r_[a, b, a, b], np.r_[a, b, b, a])),
        shape=(len(islands), len(islands)),
    ).tocsc()
    if free.any():
        factors = scipy.sparse.linalg.splu(laplacian[free][:, free])
        for _ in range(4):
            flow = g[:, None] * (voltage[a] - voltage[b])
            residual = np.zeros_like(voltage)
            np.add.at(residual, b, flow)
            np.add.at(residual, a, -flow)
            voltage[free] += factors.solve(residual[free].astype(float))
    drop = voltage[merged[row_node]] - voltage[merged[column_node]]
    return (G.astype(np.longdouble)[:, :, None] * drop).sum(0).T.astype(np.float64)


def _groups(a, b, count):
    graph = scipy.sparse.coo_matrix((np.ones(len(a)), (a, b)), shape=(count, count))
    return scipy.sparse.csgraph.connected_components(graph, directed=False)[1]
