"""A spiking VGG5 on MNIST with direct encoding: the accuracy that training reaches in software."""

import dataclasses

from flax import nnx

from experiments import registry
from experiments.figures.accuracy import training_figure
from experiments.output import Result, Run, inputs
from experiments.parts import make_dataset, make_neuron, make_training
from jaxsnn.codesign.table import Table
from jaxsnn.learning.training import evaluate
from jaxsnn.models.vgg import vgg

make_vgg = registry.register(vgg)


@registry.experiment("mnist", "train a spiking VGG5 on MNIST; needs its files (load.path or JAXSNN_DATA)")
def mnist(run: Run, *, seed: int) -> Result:
    """Train, then measure accuracy and spike rates on the test images.

    **Arguments:** `seed`: of the initial weights.
    """
    dataset = make_dataset()
    training = make_training()
    network = make_vgg(
        image_size=dataset.image_shape[0],
        in_channels=dataset.image_shape[-1],
        classes=dataset.classes,
        neuron=make_neuron,
        rngs=nnx.Rngs(seed),
    )
    make_neuron()
    registry.require_all_used()

    trained = run.fit(network, dataset, training, checkpoint_dir=run.checkpoints)
    software = evaluate(
        network, dataset.scale(dataset.test_images), dataset.test_labels, timesteps=training.timesteps
    )
    spiking = [layer for layer in software.record if layer.spiking]
    return Result(
        title="A spiking VGG5 on MNIST",
        inputs=inputs(dataset, seed, training=training),
        numbers={
            "software_accuracy": software.accuracy,
            "spike_rates": {layer.name: float(layer.spike_rate) for layer in spiking},
            "resumed_epochs": trained.resumed_epochs,
            "training": [dataclasses.asdict(epoch) for epoch in trained.history],
        },
        tables=[
            Table("Accuracy", ["network", "test accuracy"], [["software", f"{software.accuracy:.2%}"]]),
            Table(
                "Spikes per neuron and timestep",
                ["layer", "rate"],
                [[layer.name, f"{float(layer.spike_rate):.3f}"] for layer in spiking],
            ),
        ],
        figures={
            "training": training_figure(
                [epoch.loss for epoch in trained.history], [epoch.test_accuracy for epoch in trained.history]
            )
        },
    )
