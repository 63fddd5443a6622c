"""The settings of a training run."""

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import optax

from jaxsnn.checks import is_fraction, is_number, is_positive, require_choice, require_count, require_flag


def without_addresses(text: str) -> str:
    """Of functions, which print with one that every process chooses anew."""
    return re.sub(r" at 0x[0-9a-f]+", "", text)


def _takes_a_rate(make: Any) -> bool:
    return callable(make) and next(iter(inspect.signature(make).parameters), "") == "learning_rate"


@dataclass(frozen=True)
class TrainConfig:
    """How to train.

    **Arguments:**

    - `epochs`, `batch_size`, `timesteps`: counts, at least 1. The last images of an epoch that do not fill a
      batch are left out of it (the order changes every epoch).
    - `learning_rate`: of the start; `decay_at` are fractions of all epochs at which it is multiplied by
      `decay_factor` (Bhattacharjee et al.: divided by 10 at 50 % and 75 %).
    - `schedule`: "step" as said, or "cosine" from `learning_rate` down to zero.
    - `optimizer`: "adam", "sgd" (momentum 0.9) or another name in optax that makes an optimiser of a learning
      rate, e.g. "lion"; a function that does so, e.g. `partial(optax.adamw, weight_decay=1e-2)`; or any
      [`optax.GradientTransformation`][], whose rate is its own. A checkpoint tells functions by their name.
    - `weight_decay`: is added to the gradient, as torch does.
    - `label_smoothing`: share of the target spread evenly over all classes.
    - `loss_at`: "last", the cross-entropy of the logits after all timesteps, or "every", its mean over the
      logits after each timestep, for networks that exit early.
    - `crop`, `flip`, `drop`: augmentation, see [`jaxsnn.data.augmentation.augment`][].
    - `chunk`, `remat`: how time is unrolled and what the backward pass recomputes, see
      [`jaxsnn.network.Network`][].
    - `microbatch`: how many images of a batch run at once; the gradients of these parts are averaged, so that
      memory grows with it and not with `batch_size`. It must divide the batch. None: all at once.
      Normalisation takes its statistics, and a penalty its rates, of each part; a `transform` runs once a
      batch.
    - `devices`: how many devices share a batch (data parallel); it must divide the batch size. After
      `jax.distributed.initialize` it counts the devices of all processes.
    - `validation`: fraction of the training images that is held out to choose the "best" checkpoint; 0 holds
      out none, and the lowest training loss chooses. The test images never do.
    - `seed`: of the data order and of every draw during training.

    **Raises:** `ValueError` that names a setting outside what it may be.
    """

    epochs: int = 20
    batch_size: int = 64
    timesteps: int = 5
    learning_rate: float = 4e-3
    optimizer: (
        str | Callable[[optax.Schedule], optax.GradientTransformation] | optax.GradientTransformation
    ) = "adam"
    decay_at: tuple[float, ...] = (0.5, 0.75)
    decay_factor: float = 0.1
    schedule: str = "step"
    weight_decay: float = 0.0
    label_smoothing: float = 0.0
    loss_at: str = "last"
    crop: int = 0
    flip: bool = False
    drop: float = 0.0
    chunk: int | None = None
    remat: bool = False
    microbatch: int | None = None
    devices: int = 1
    validation: float = 0.0
    seed: int = 0

    def __post_init__(self):
        counts = {"epochs": 1, "batch_size": 1, "timesteps": 1, "devices": 1, "crop": 0, "seed": 0}
        optional = {name: 1 for name in ("chunk", "microbatch") if getattr(self, name) is not None}
        for name, least in (counts | optional).items():
            require_count(name, getattr(self, name), least)
            # JSON, by which runs are told apart, takes none of NumPy's numbers.
            object.__setattr__(self, name, int(getattr(self, name)))
        if self.seed >= 2**32:
            raise ValueError(
                f"seed must be below 2**32, got {self.seed}: a key keeps 32 bits, and "
                "would be that of another seed."
            )
        for name in ("flip", "remat"):
            require_flag(name, getattr(self, name))
            object.__setattr__(self, name, bool(getattr(self, name)))
        for name in ("learning_rate", "decay_factor"):
            if not is_positive(getattr(self, name)):
                raise ValueError(f"{name} must be positive and finite, got {getattr(self, name)!r}.")
        if not (is_number(self.weight_decay) and self.weight_decay >= 0):
            raise ValueError(f"weight_decay must be zero or more and finite, got {self.weight_decay!r}.")
        if isinstance(self.optimizer, str) and not _takes_a_rate(getattr(optax, self.optimizer, None)):
            raise ValueError(
                "optimizer must be 'adam', 'sgd', another optimiser of optax that takes a learning rate, or "
                f"such a function; got {self.optimizer!r}."
            )
        if not isinstance(self.optimizer, str | optax.GradientTransformation) and not callable(
            self.optimizer
        ):
            raise ValueError(
                "optimizer must be a name, a function of the learning rate or an optax transformation; "
                f"got {self.optimizer!r}."
            )
        require_choice("loss_at", self.loss_at, ("last", "every"))
        require_choice("schedule", self.schedule, ("step", "cosine"))
        if not is_fraction(self.label_smoothing):
            raise ValueError(f"label_smoothing is a fraction in [0, 1), got {self.label_smoothing!r}.")
        if not is_fraction(self.drop):
            raise ValueError(f"drop is the fraction of events to lose, in [0, 1), got {self.drop!r}.")
        if not is_fraction(self.validation):
            raise ValueError(f"validation is a fraction of the images in [0, 1), got {self.validation!r}.")
        self.check_batch(self.batch_size)
        if not isinstance(self.decay_at, tuple | list) or not all(
            is_fraction(at) and at > 0 for at in self.decay_at
        ):
            raise ValueError(
                "decay_at are fractions of the epochs between 0 and 1 as a tuple, such as (0.5, 0.75), got "
                f"{self.decay_at!r}."
            )
        object.__setattr__(self, "decay_at", tuple(map(float, self.decay_at)))
        for name in (
            "learning_rate",
            "decay_factor",
            "weight_decay",
            "label_smoothing",
            "drop",
            "validation",
        ):
            if not isinstance(getattr(self, name), int):
                object.__setattr__(self, name, float(getattr(self, name)))

    def check_batch(self, size: int) -> None:
        """**Raises:** `ValueError` if a batch of `size` images cannot be cut as this asks for."""
        if size % self.devices:
            raise ValueError(f"{self.devices} devices do not divide a batch of {size}.")
        if self.microbatch is not None and (size % self.microbatch or self.microbatch % self.devices):
            raise ValueError(
                f"microbatch must divide a batch of {size} and be a multiple of devices={self.devices}, got "
                f"{self.microbatch}."
            )

    def facts(self) -> dict[str, Any]:
        """The settings as JSON holds them, the same in every process."""
        facts = {each.name: getattr(self, each.name) for each in fields(self)}
        return facts | {"optimizer": without_addresses(str(self.optimizer))}

    def rate(self, steps_per_epoch: int) -> optax.Schedule:
        """The learning rate as a function of the optimiser step."""
        if self.schedule == "cosine":
            return optax.cosine_decay_schedule(self.learning_rate, self.epochs * steps_per_epoch)
        boundaries: dict[int, float] = {}
        for at in self.decay_at:
            # At least one step runs at the full rate, however short the run.
            step = max(1, round(at * self.epochs * steps_per_epoch))
            boundaries[step] = boundaries.get(step, 1.0) * self.decay_factor
        return optax.piecewise_constant_schedule(self.learning_rate, boundaries)

    def transformation(self, steps_per_epoch: int) -> optax.GradientTransformation:
        """The optax optimiser."""
        optimizer = self.optimizer
        if not isinstance(optimizer, optax.GradientTransformation):
            make = getattr(optax, optimizer) if isinstance(optimizer, str) else optimizer
            settings = {"momentum": 0.9} if optimizer == "sgd" else {}
            optimizer = make(self.rate(steps_per_epoch), **settings)
        decay = [optax.add_decayed_weights(self.weight_decay)] if self.weight_decay else []
        return optax.chain(*decay, optimizer)
