"""How noise-aware training would scale: a measured tile, counted bytes, and assumed accelerators."""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from experiments import registry
from experiments.figures.scale import scale_figure
from experiments.output import Result, Run
from experiments.parts import make_crossbar, make_device, make_wires
from experiments.timing import seconds_of
from hwmodels.crossbar import Crossbar, effective_conductance
from hwmodels.crossbar.mapping import layout
from hwmodels.workload import Layer
from jaxsnn.codesign.table import Table

_BYTES = 4  # float32


@dataclass(frozen=True)
class Cluster:
    """What is assumed of the accelerators; nothing here was measured.

    **Arguments:**

    - `flops_per_s`: peak of one accelerator in float32. Default: NVIDIA's data sheet of the A100.
    - `utilisation`: fraction of it that training the network reaches.
    - `link_bytes_per_s`: one direction of one accelerator's links. Default: the same data sheet, 600 GB/s in
      both directions together.
    - `link_efficiency`: fraction of it that collectives reach.
    - `memory_bytes`: of one accelerator. Default: 80 GB.

    **Raises:** `ValueError` for rates that are not positive and for fractions outside (0, 1].
    """

    flops_per_s: float = 19.5e12
    utilisation: float = 0.3
    link_bytes_per_s: float = 300e9
    link_efficiency: float = 0.7
    memory_bytes: float = 80e9

    def __post_init__(self):
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            most = 1 if field.name in ("utilisation", "link_efficiency") else math.inf
            if not 0 < value <= most or math.isinf(value):
                raise ValueError(
                    f"Cluster.{field.name} must be positive{' and at most 1' * (most == 1)}, got {value}."
                )


make_cluster = registry.register(Cluster)


@dataclass(frozen=True)
class Job:
    """Noise-aware training of one network, counted.

    - `weights`, `macs`: of the network, the latter for one image and timestep.
    - `activations`: neuron outputs of one image and timestep.
    - `tiles`: crossbars of all its kernels; `cells` in one of them.
    """

    name: str
    weights: int
    macs: int
    activations: int
    tiles: int
    cells: int


@dataclass(frozen=True)
class Measured:
    """What this machine was measured to do.

    - `tile_s`: seconds for the effective conductance of one tile and its gradient, in a batch, float32.
    - `product_flops_per_s`: rate of a large matrix product, float32.
    """

    tile_s: float
    product_flops_per_s: float

    @property
    def tile_flops(self) -> float:
        """A tile in units of this machine's matrix products: floating-point operations of equal time."""
        return self.tile_s * self.product_flops_per_s


def vgg16() -> tuple[Layer, ...]:
    """VGG16 at 224×224 and 1000 classes (Simonyan and Zisserman, 2015, configuration D)."""
    layers: list[Layer] = []
    size, channels = 224, 3
    for width, depth in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(depth):
            layers.append(_conv(layers, size, channels, width, 3, 1, 1))
            channels = width
        size //= 2
    for features, outputs in ((512 * 7 * 7, 4096), (4096, 4096), (4096, 1000)):
        layers.append(Layer.linear(f"fc{len(layers) + 1}", in_features=features, out_features=outputs))
    return tuple(layers)


def resnet50() -> tuple[Layer, ...]:
    """ResNet-50 at 224×224 and 1000 classes (He et al., 2016), strides in the 3×3 convolutions."""
    layers: list[Layer] = []
    layers.append(_conv(layers, 224, 3, 64, 7, 2, 3))
    size, channels = 56, 64  # After a pooling of stride 2.
    for stage, (width, depth) in enumerate(((64, 3), (128, 4), (256, 6), (512, 3))):
        for block in range(depth):
            stride = 2 if stage > 0 and block == 0 else 1
            if block == 0:
                layers.append(_conv(layers, size, channels, 4 * width, 1, stride, 0))
            layers.append(_conv(layers, size, channels, width, 1, 1, 0))
            layers.append(_conv(layers, size, width, width, 3, stride, 1))
            size //= stride
            layers.append(_conv(layers, size, width, 4 * width, 1, 1, 0))
            channels = 4 * width
    layers.append(Layer.linear(f"fc{len(layers) + 1}", in_features=channels, out_features=1000))
    return tuple(layers)


def _conv(before: list[Layer], size: int, inputs: int, outputs: int, kernel: int, stride: int, padding: int):
    return Layer.conv(
        f"conv{len(before) + 1}",
        height=size,
        width=size,
        in_channels=inputs,
        out_channels=outputs,
        kernel=kernel,
        stride=stride,
        padding=padding,
    )


def job(name: str, layers: Sequence[Layer], crossbar: Crossbar) -> Job:
    """What training a network asks for, its kernels on tiles of one design."""
    planes = (2 if crossbar.signs == "differential" else 1) * crossbar.slices
    tiles = 0
    for layer in layers:
        shape = (layer.in_channels, layer.out_channels)
        cut = layout(shape if layer.kind == "linear" else (*layer.kernel, *shape), crossbar)
        tiles += planes * cut.groups * math.prod(cut.grid)
    return Job(
        name,
        weights=sum(layer.weights for layer in layers),
        macs=sum(layer.macs for layer in layers),
        activations=sum(layer.outputs for layer in layers),
        tiles=tiles,
        cells=crossbar.rows * crossbar.columns,
    )


def step(job: Job, cluster: Cluster, measured: Measured, devices: int, *, batch: int, timesteps: int) -> dict:
    r"""One optimiser step on n devices: time and memory of each.

    The batch B and the K tiles are cut among the devices:

    $$t = \underbrace{\frac{6·M·T·⌈B/n⌉}{u·F}}_{\mathrm{network}}
        + \underbrace{⌈K/n⌉·\frac{c}{F}}_{\mathrm{tiles}}
        + \underbrace{\frac{n−1}{n}·\frac{2·4W + 2·4KR}{e·L}}_{\mathrm{exchange}}$$

    with M multiply-accumulates (two operations each, and twice the forward pass for the backward pass), F the
    peak and u its utilisation, c the tile's cost in operations of equal time, W weights, R cells of a tile,
    L the link and e its efficiency. The exchange is a ring all-reduce of the gradients (twice their bytes),
    an all-gather of the effective tiles and a reduce-scatter of their gradients. Nothing overlaps.

    Each device holds weights, gradients and Adam's two moments, the activations of its part of the batch for
    all timesteps (output and potential), and all effective tiles with their gradients:
    `4·(4W + 2·A·T·⌈B/n⌉ + 2·K·R)` bytes.

    Assumed: an accelerator spends on a tile the same share of its peak matrix-product rate as this machine.

    **Arguments:** the counted `job`, the assumed `cluster`, the `measured` machine, `devices` n ≥ 1, the
    global `batch` B and `timesteps` T.

    **Returns:** seconds and bytes by name; `over_plain` is the step over one without tiles.

    **Raises:** `ValueError` for fewer devices, images or timesteps than one.
    """
    for name, value in (("devices", devices), ("batch", batch), ("timesteps", timesteps)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}.")
    images = math.ceil(batch / devices)
    network_s = 6 * job.macs * timesteps * images / (cluster.utilisation * cluster.flops_per_s)
    tiles_s = math.ceil(job.tiles / devices) * measured.tile_flops / cluster.flops_per_s
    exchanged = (devices - 1) / devices * _BYTES * (2 * job.weights + 2 * job.tiles * job.cells)
    exchange_s = exchanged / (cluster.link_efficiency * cluster.link_bytes_per_s)
    plain_s = network_s + exchange_s * job.weights / (job.weights + job.tiles * job.cells)
    held = 4 * job.weights + 2 * job.activations * timesteps * images + 2 * job.tiles * job.cells
    step_s = network_s + tiles_s + exchange_s
    return {
        "network": job.name,
        "devices": devices,
        "step_s": step_s,
        "network_s": network_s,
        "tiles_s": tiles_s,
        "exchange_s": exchange_s,
        "over_plain": step_s / plain_s,
        "exchanged_bytes": exchanged,
        "memory_bytes": _BYTES * held,
        "fits": _BYTES * held <= cluster.memory_bytes,
    }


def measure(crossbar: Crossbar, tiles: int, side: int, repeats: int) -> Measured:
    """Medians on this machine: a batch of tiles with its gradient, and a square matrix product."""
    key = jax.random.key(0)
    low, high = float(crossbar.device.g_min_siemens), float(crossbar.device.g_max_siemens)
    shape = (tiles, crossbar.rows, crossbar.columns)
    conductances = jax.random.uniform(key, shape, jnp.float32, low, high)

    @jax.jit
    def solve(conductances):
        return jax.value_and_grad(lambda G: jnp.sum(effective_conductance(G, crossbar.wires)))(conductances)

    matrix = jax.random.normal(key, (side, side), jnp.float32)
    product = jax.jit(jnp.matmul)
    return Measured(
        tile_s=seconds_of(lambda: solve(conductances), repeats) / tiles,
        product_flops_per_s=2 * side**3 / seconds_of(lambda: product(matrix, matrix), repeats),
    )


@registry.experiment("scale", "project noise-aware training of VGG16 and ResNet-50 on 1 to 64 accelerators")
def scale(
    run: Run,
    *,
    devices: tuple[int, ...],
    batch: int,
    timesteps: int,
    measured_tiles: int,
    measured_side: int,
    repeats: int,
) -> Result:
    """A tile is measured on this machine, bytes and operations are counted, the accelerators are assumed.

    **Arguments:**

    - `devices`: numbers of accelerators.
    - `batch`, `timesteps`: of one optimiser step, over all accelerators together.
    - `measured_tiles`, `measured_side`, `repeats`: tiles in a batch, side of the matrix product, and timings.
    """
    counts = {"batch": batch, "timesteps": timesteps, "repeats": repeats} | {
        "devices": min(devices, default=0),
        "measured_tiles": measured_tiles,
        "measured_side": measured_side,
    }
    for name, value in counts.items():
        if value < 1:
            raise ValueError(f"scale.{name} must be at least 1, got {value}.")
    crossbar = make_crossbar(wires=make_wires(), device=make_device())
    cluster = make_cluster()
    registry.require_all_used()
    measured = measure(crossbar, measured_tiles, measured_side, repeats)
    jobs = [job("VGG16", vgg16(), crossbar), job("ResNet-50", resnet50(), crossbar)]
    rows = [
        step(one, cluster, measured, count, batch=batch, timesteps=timesteps)
        for one in jobs
        for count in devices
    ]
    return Result(
        title="Noise-aware training on many accelerators, projected",
        inputs={"batch": batch, "timesteps": timesteps},
        numbers={
            "measured_on_this_machine": dataclasses.asdict(measured),
            "assumed": dataclasses.asdict(cluster),
            "jobs": [dataclasses.asdict(one) for one in jobs],
            "steps": rows,
        },
        tables=[_table(rows, cluster, measured)],
        figures={"scale": scale_figure(rows)},
    )


def _table(rows: Sequence[dict[str, Any]], cluster: Cluster, measured: Measured) -> Table:
    return Table(
        "One optimiser step",
        ["network", "devices", "step", "network", "tiles", "exchange", "over plain", "memory"],
        [
            [
                row["network"],
                str(row["devices"]),
                *(f"{row[name]:.3g} s" for name in ("step_s", "network_s", "tiles_s", "exchange_s")),
                f"{row['over_plain']:.2f}×",
                f"{row['memory_bytes'] / 1e9:.3g} GB" + ("" if row["fits"] else " (too much)"),
            ]
            for row in rows
        ],
        note=f"Projected, not measured: {cluster.flops_per_s / 1e12:.3g} TFLOP/s at "
        f"{cluster.utilisation:.0%}, links of {cluster.link_bytes_per_s / 1e9:.3g} GB/s at "
        f"{cluster.link_efficiency:.0%}. Measured here: {measured.tile_s * 1e3:.3g} ms a tile with its "
        f"gradient, {measured.product_flops_per_s / 1e9:.3g} GFLOP/s in matrix products.",
    )
