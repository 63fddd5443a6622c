"""Deployment of parameter pytrees: structure, streams, report, slopes, extremes, errors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hwmodels.crossbar import (
    Crossbar,
    Device,
    Drift,
    Faults,
    Variation,
    Wires,
    deploy,
    deployment_report,
    program,
)
from tests.helpers import finite_difference

KEY = jax.random.key(11)
PARAMS = {
    "conv": {"kernel": jax.random.normal(KEY, (2, 2, 3, 3), jnp.float64), "scale": jnp.ones((2, 2))},
    "fc": {"bias": jnp.ones(5), "kernel": jax.random.normal(KEY, (7, 5), jnp.float64)},
}
CROSSBAR = Crossbar(4, 4)
deployed = jax.jit(deploy)
programmed = jax.jit(program)


def test_kernels_are_replaced_and_the_rest_passes():
    chip = deployed(PARAMS, CROSSBAR, KEY)
    assert jax.tree.structure(chip) == jax.tree.structure(PARAMS)
    assert jax.tree.map(lambda x: (x.shape, x.dtype), chip) == jax.tree.map(
        lambda x: (x.shape, x.dtype), PARAMS
    )
    np.testing.assert_array_equal(chip["fc"]["bias"], PARAMS["fc"]["bias"])
    np.testing.assert_array_equal(chip["conv"]["scale"], PARAMS["conv"]["scale"])
    for layer in ("conv", "fc"):
        assert not jnp.any(chip[layer]["kernel"] == PARAMS[layer]["kernel"])


def test_one_batch_is_as_each_kernel_alone_with_a_stream_of_its_own():
    chip = deployed(PARAMS, CROSSBAR, KEY)
    for index, layer in ((0, "conv"), (3, "fc")):  # leaves in the order of the tree
        alone = programmed(PARAMS[layer]["kernel"], CROSSBAR, jax.random.fold_in(KEY, index)).weights
        np.testing.assert_allclose(chip[layer]["kernel"], alone, rtol=1e-9, atol=1e-12)


def test_dtypes_mix():
    params = {"a": {"kernel": PARAMS["fc"]["kernel"].astype(jnp.float32)}, "b": PARAMS["fc"]}
    chip = deployed(params, CROSSBAR, KEY)
    assert chip["a"]["kernel"].dtype == jnp.float32
    assert chip["b"]["kernel"].dtype == jnp.float64


@pytest.mark.parametrize("calibration", ["tile", "column"])
def test_calibration_restores_the_gain(calibration):
    """A gain per column undoes resistance that is common to a column; a gain per tile undoes most of it."""
    kernel = PARAMS["fc"]["kernel"]
    error = {
        name: float(
            jnp.abs(
                programmed(
                    kernel, Crossbar(4, 4, device=Device(variation=None), calibration=name), KEY
                ).weights
                - kernel
            ).mean()
        )
        for name in ("none", calibration)
    }
    assert error[calibration] < error["none"] / 2


def test_the_report_counts_what_was_deployed():
    conv, fc = deployment_report(PARAMS, CROSSBAR, KEY)
    assert (conv.name, conv.tiles, conv.utilisation) == ("['conv']['kernel']", 6, 36 / 48)
    assert (fc.name, fc.tiles, fc.utilisation) == ("['fc']['kernel']", 8, 35 / 64)
    assert conv.histogram.sum() == 2 * 36
    assert fc.histogram.sum() == 2 * 35
    np.testing.assert_array_equal(conv.histogram_edges_siemens, fc.histogram_edges_siemens)
    chip = programmed(PARAMS["fc"]["kernel"], CROSSBAR, jax.random.fold_in(KEY, 3))
    assert 0 < fc.attenuation < 1
    np.testing.assert_allclose(fc.attenuation, chip.effective.sum() / chip.conductances.sum(), rtol=1e-9)
    assert fc.weight_error > 0


def test_devices_at_their_extremes():
    kernel = PARAMS["fc"]["kernel"]

    def with_faults(*rates):
        return programmed(kernel, Crossbar(4, 4, Wires(), Device(faults=Faults(*rates))), KEY)

    for dead in (with_faults(0.0, 0.0, 1.0), with_faults(1.0, 0.0, 0.0), with_faults(0.0, 1.0, 0.0)):
        # Both devices of every pair are the same, up to the wires of tiles that are the same.
        np.testing.assert_allclose(dead.weights, 0, atol=1e-12)
    assert jnp.all(with_faults(0.0, 0.0, 1.0).conductances == 0)
    none = with_faults(0.0, 0.0, 0.0)
    np.testing.assert_array_equal(none.weights, programmed(kernel, CROSSBAR, KEY).weights)
    # Cells outside the kernel conduct nothing, whatever their fault.
    outside = jnp.broadcast_to(none.used, none.conductances.shape) == 0
    assert jnp.all(with_faults(1.0, 0.0, 0.0).conductances[outside] == 0)


def test_every_imperfection_shows():
    kernel = PARAMS["fc"]["kernel"]
    base = Crossbar(4, 4, device=Device(variation=None, bits=8))
    plain = programmed(kernel, base, KEY).weights
    for device in (
        Device(variation=0.1, bits=8),
        Device(variation=None, bits=2),
        Device(variation=None, bits=8, faults=Faults(0.1)),
        Device(variation=None, bits=8, drift=Drift(0.1, 100.0)),
        Device(1e-5, variation=None, bits=8),
    ):
        changed = programmed(kernel, Crossbar(4, 4, device=device), KEY).weights
        assert jnp.abs(changed - plain).max() > 0.05


def test_slopes_against_finite_differences():
    kernel = np.asarray(PARAMS["fc"]["kernel"][:3, :2])
    C = np.random.default_rng(0).normal(size=kernel.shape)

    def loss(at):
        device = Device(at[0], at[1], Variation(at[2]))
        crossbar = Crossbar(2, 2, Wires(at[3], at[4], 10.0, at[5]), device)
        params = {"kernel": jnp.asarray(kernel).at[1, 1].set(at[6])}
        return jnp.sum(deploy(params, crossbar, KEY)["kernel"] * C)

    at = np.array([5e-6, 5e-5, 0.1, 1e3, 50.0, 500.0, kernel[1, 1]])
    np.testing.assert_allclose(
        jax.jit(jax.grad(loss))(at), finite_difference(jax.jit(loss), at), rtol=1e-5, atol=1e-9
    )


@pytest.mark.parametrize("signs", ["differential", "offset", "nice"])
@pytest.mark.parametrize("calibration", ["tile", "column"])
def test_slopes_of_every_sign_and_gain(signs, calibration):
    """All weights, the greatest included, which is the scale of the others; on any circuit."""
    kernel = np.asarray(PARAMS["fc"]["kernel"][:3, :2])
    C = np.random.default_rng(0).normal(size=kernel.shape)
    crossbar = Crossbar(3, 3, signs=signs, calibration=calibration)

    @jax.jit
    def loss(kernel):
        params = {"kernel": jnp.asarray(kernel)}
        return jnp.sum(C * deploy(params, crossbar, KEY, solve=lambda G, wires: G / (1 + 1e4 * G))["kernel"])

    slope = jax.jit(jax.grad(loss))(kernel)
    np.testing.assert_allclose(slope, finite_difference(loss, kernel), rtol=1e-5, atol=1e-7)


def test_nothing_to_deploy_is_refused():
    with pytest.raises(ValueError, match="no leaf"):
        deploy({"bias": jnp.ones(3)}, CROSSBAR, KEY)
    with pytest.raises(ValueError, match="floating"):
        deploy({"kernel": jnp.ones((3, 2), jnp.int32)}, CROSSBAR, KEY)


@pytest.mark.parametrize("bad", [float("nan")])
def test_bad_weights_are_refused_under_jit(bad):
    kernel = PARAMS["fc"]["kernel"].at[2, 1].set(bad)
    with pytest.raises(Exception, match="NaN or infinite"):
        programmed(kernel, CROSSBAR, KEY).weights.block_until_ready()
