"""A second opinion on nonlinear tiles: Newton's method on the node voltages, sparse, sources raised in steps.

The transistor of a 1T1R cell has a node and the textbook's three regions of its own here.
"""

import numpy as np
import scipy.sparse
import scipy.sparse.linalg


def sinh(v0):
    return lambda G, v: (G * v0 * np.sinh(v / v0), G * np.cosh(v / v0))


def cubic(beta):
    return lambda G, v: (G * (v + beta * v**3), G * (1 + 3 * beta * v**2))


def nmos(drain, source, kp, w_over_l, vto, vg):
    """Current and its derivatives to drain and source of a level-1 transistor, by region."""
    turned = drain < source
    high, low = np.maximum(drain, source), np.minimum(drain, source)
    over, across = vg - low - vto, high - low
    K = kp * w_over_l
    off, saturated = over <= 0, across >= over
    current = np.where(saturated, K / 2 * over**2, K * (over - across / 2) * across)
    by_across = np.where(saturated, 0, K * (over - across))
    by_over = np.where(saturated, K * over, K * across)
    current, by_across, by_over = (np.where(off, 0, part) for part in (current, by_across, by_over))
    by_high, by_low = by_across, -by_across - by_over
    return (
        np.where(turned, -current, current),
        np.where(turned, -by_low, by_high),
        np.where(turned, -by_high, by_low),
    )


def currents(G, V, resistances, law=None, transistor=None):
    """Sense currents of one tile under voltages V; wires above zero ohm, conductances above zero."""
    driver, row, column, sense = resistances
    rows, columns = G.shape
    n = G.size
    u = np.arange(n).reshape(G.shape)
    v = u + n
    m = u + 2 * n
    edges = [(1 / row, u[:, :-1], u[:, 1:]), (1 / column, v[:-1], v[1:])]
    if transistor is not None:
        edges.append((G, u, m))
    g, a, b = (
        np.concatenate([np.broadcast_to(edge[part], edge[1].shape).ravel() for edge in edges])
        for part in range(3)
    )
    count = n * (2 if transistor is None else 3)
    ends = np.concatenate([u[:, 0], v[-1]])
    to_ground = np.concatenate([np.full(rows, 1 / driver), np.full(columns, 1 / sense)])
    wires = scipy.sparse.coo_matrix(
        (np.r_[g, g, -g, -g, to_ground], (np.r_[a, b, a, b, ends], np.r_[a, b, b, a, ends])), (count, count)
    ).tocsc()
    source = np.zeros(count)
    source[u[:, 0]] = V / driver

    def residual(x, scale):
        if transistor is None:
            current, slope = law(G, x[u] - x[v])
            high, by_high, by_low = u, slope, -slope
        else:
            current, by_high, by_low = nmos(x[m], x[v], **transistor)
            high = m
        out = wires @ x - scale * source
        np.add.at(out, high.ravel(), current.ravel())
        np.add.at(out, v.ravel(), -current.ravel())
        at = (np.r_[high.ravel(), high.ravel(), v.ravel(), v.ravel()],
              np.r_[high.ravel(), v.ravel(), high.ravel(), v.ravel()])  # fmt: skip
        values = np.r_[by_high.ravel(), by_low.ravel(), -by_high.ravel(), -by_low.ravel()]
        return out, wires + scipy.sparse.coo_matrix((values, at), (count, count)).tocsc()

    x, scale, raise_by = np.zeros(count), 0.0, 1.0
    while scale < 1:
        trial, target = x.copy(), min(1.0, scale + raise_by)
        for _ in range(40):
            out, jacobian = residual(trial, target)
            step = scipy.sparse.linalg.spsolve(jacobian, -out)
            trial += step
            if not np.abs(step).max() < 10:
                break
            if np.abs(step).max() < 1e-13:
                x, scale, raise_by = trial, target, 2 * raise_by
                break
        else:
            step = np.array([np.inf])
        if not np.abs(step).max() < 1e-13:
            raise_by /= 2
            assert raise_by > 1e-6
    return x[v[-1]] / sense
