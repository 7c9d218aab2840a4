"""Schedule which layers are trained, when, and at which learning rate."""

import copy
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from ignite.engine import Engine, Events
from torch import nn

WARM_UP = 0.1
"""Part of a phase in which an annealed learning rate climbs."""

ANNEALINGS = ("none", "cosine")

BATCH_NORMS = (nn.modules.batchnorm._BatchNorm,)


class InvalidSchedule(ValueError):
    """Phases that do not match the network or each other."""


class Schedule:
    """Phases of a training: each names layers with their learning rates, and all other layers are frozen.

    A layer is named as in the network (`classifier`, `features.24`); `features.24+` means that layer and
    all that follow it in `features`, and `*` all layers. A frozen batch norm works with its stored mean and
    variance and does not change them. When a phase begins, learning rates are the phase's, and the counters
    of early stopping and of the plateau start anew.

    The phase follows from the epoch alone, so a resumed training is in the right one.

    Args:
        network: what is trained.
        optimizer: made with `parameter_groups(network, phases)`.
        phases: each `{"epochs": n, "layers": {name: learning rate}}`; the last one has no `epochs` and lasts
            until `max_epochs`.
        max_epochs: of the whole training.
        annealing: `none`, or `cosine`: in each phase the rates climb for its first tenth, then fall to 0
            along half a cosine.
        plateau: a scheduler that lowers the rates when validation no longer improves; not with `cosine`.
        early_stopping: ignite's handler.
        weights: what the training starts from; `none` cannot have frozen layers.

    Raises:
        InvalidSchedule: unknown layers, layers named twice, frozen layers without weights, phases after the
            end, or two owners of the learning rate.
    """

    def __init__(
        self,
        network: nn.Module,
        optimizer: torch.optim.Optimizer,
        phases: Sequence[Mapping[str, Any]],
        max_epochs: int,
        annealing: str = "none",
        plateau: torch.optim.lr_scheduler.ReduceLROnPlateau | None = None,
        early_stopping: Any = None,
        weights: str = "none",
    ) -> None:
        self.network = network
        self.optimizer = optimizer
        self.starts = first_epochs(phases, max_epochs)
        self.rates = [rates_by_parameter(network, phase["layers"]) for phase in phases]
        self.max_epochs = max_epochs
        self.annealing = annealing
        self.counters = [thing for thing in (plateau, early_stopping) if thing is not None]
        self.zero = [copy.deepcopy(thing.state_dict()) for thing in self.counters]
        self.plateau = plateau
        self._phase: int | None = None
        self._hooks: list[Any] = []
        if annealing not in ANNEALINGS:
            raise InvalidSchedule(f"annealing {annealing!r} is not one of {', '.join(ANNEALINGS)}")
        if annealing != "none" and plateau is not None:
            raise InvalidSchedule(
                "annealing and lr_scheduler would both set the learning rate; set --annealing none, or --lr_scheduler "
                "'$None'"
            )
        total = sum(1 for _ in network.parameters())
        for number, rates in enumerate(self.rates, 1):
            if weights == "none" and len(rates) < total:
                raise InvalidSchedule(
                    f"phase {number} freezes {total - len(rates)} parameters at random values; give weights "
                    "(imagenet, a file or a run), or train all layers: --phases \"[{'layers': {'*': 1.0e-4}}]\""
                )

    def attach(self, trainer: Engine, evaluator: Engine | None = None) -> None:
        """Listen to the trainer, and to the evaluator if there is a plateau."""
        trainer.add_event_handler(Events.EPOCH_STARTED, self._begin_epoch)
        if self.annealing == "cosine":
            trainer.add_event_handler(Events.ITERATION_STARTED, self._anneal)
        if self.plateau is not None and evaluator is not None:
            evaluator.add_event_handler(Events.COMPLETED, self._step_plateau)

    def state_dict(self) -> dict[str, Any]:
        """State that does not follow from the epoch: the plateau's counters."""
        return {"plateau": self.plateau.state_dict()} if self.plateau is not None else {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the result of `state_dict`."""
        if self.plateau is not None:
            self.plateau.load_state_dict(state["plateau"])

    def phase_of(self, epoch: int) -> int:
        """Index of the phase that an epoch, counted from 1, is in."""
        return max(index for index, start in enumerate(self.starts) if start <= epoch)

    def frozen_in(self, phase: int) -> set[str]:
        """Names of the parameters that a phase does not train."""
        return {name for name, _ in self.network.named_parameters()} - set(self.rates[phase])

    def _begin_epoch(self, engine: Engine) -> None:
        phase = self.phase_of(engine.state.epoch)
        if phase != self._phase:
            self._freeze(phase)
            self._phase = phase
        if engine.state.epoch == self.starts[phase]:
            self._set_rates(1.0)
            for thing, zero in zip(self.counters, self.zero, strict=True):
                thing.load_state_dict(copy.deepcopy(zero))

    def _freeze(self, phase: int) -> None:
        for hook in self._hooks:
            hook.remove()
        for name, parameter in self.network.named_parameters():
            parameter.requires_grad_(name in self.rates[phase])
            if not parameter.requires_grad:
                parameter.grad = None
        # the trainer puts the whole network into training mode before every step
        self._hooks = [
            module.register_forward_pre_hook(_in_eval_mode)
            for module in self.network.modules()
            if isinstance(module, BATCH_NORMS) and not any(p.requires_grad for p in module.parameters())
        ]

    def _set_rates(self, factor: float) -> None:
        assert self._phase is not None
        rates = self.rates[self._phase]
        by_parameter = {id(p): rates.get(name, 0.0) for name, p in self.network.named_parameters()}
        for group in self.optimizer.param_groups:
            group["lr"] = by_parameter[id(group["params"][0])] * factor

    def _anneal(self, engine: Engine) -> None:
        assert self._phase is not None
        ends = [*self.starts[1:], self.max_epochs + 1]
        length = (ends[self._phase] - self.starts[self._phase]) * engine.state.epoch_length
        done = engine.state.iteration - 1 - (self.starts[self._phase] - 1) * engine.state.epoch_length
        self._set_rates(annealed(done, length))

    def _step_plateau(self, evaluator: Engine) -> None:
        assert self.plateau is not None
        self.plateau.step(evaluator.state.metrics[evaluator.state.key_metric_name])


def annealed(step: int, steps: int) -> float:
    """Factor of the learning rate at `step` of `steps`: up for the first tenth, then half a cosine down to 0.

    Source: I. Loshchilov, F. Hutter, SGDR, ICLR 2017 (one period, without restarts).
    """
    climbing = min(1.0, (step + 1) / max(1.0, WARM_UP * steps))
    return climbing * 0.5 * (1 + math.cos(math.pi * min(1.0, step / steps)))


def first_epochs(phases: Sequence[Mapping[str, Any]], max_epochs: int) -> list[int]:
    """The first epoch, counted from 1, of every phase.

    Raises:
        InvalidSchedule: there is no phase, one but the last has no length, or one begins after the end.
    """
    if not phases:
        raise InvalidSchedule("there is no phase; give at least one: [{'layers': {'*': 1.0e-4}}]")
    for number, phase in enumerate(phases, 1):
        if not isinstance(phase, Mapping) or "layers" not in phase or not set(phase) <= {"layers", "epochs"}:
            raise InvalidSchedule(f"phase {number} is {phase!r}; it takes layers, and epochs in all but the last")
    starts = [1]
    for number, phase in enumerate(phases[:-1], 1):
        if not phase.get("epochs"):
            raise InvalidSchedule(f"phase {number} of {len(phases)} has no epochs; only the last may leave them out")
        starts.append(starts[-1] + int(phase["epochs"]))
    if "epochs" in phases[-1]:
        raise InvalidSchedule("the last phase lasts until max_epochs; leave its epochs out and set max_epochs")
    if starts[-1] > max_epochs:
        late = next(number for number, start in enumerate(starts, 1) if start > max_epochs)
        raise InvalidSchedule(
            f"phase {late} would begin with epoch {starts[late - 1]}, and max_epochs is {max_epochs}; raise that, or "
            "shorten phases"
        )
    return starts


def parameter_groups(network: nn.Module, phases: Sequence[Mapping[str, Any]], **options: Any) -> list[dict[str, Any]]:
    """Groups for an optimizer: parameters that have the same learning rate in every phase go together.

    All are there from the start, so that the optimizer's state fits every phase.

    Args:
        network: what is trained.
        phases: as `Schedule`.
        options: set in every group.

    Returns:
        `{"params": [...], "lr": rate in the first phase}`, in the network's order. Parameters that no phase
        trains are left out.
    """
    rates = [rates_by_parameter(network, phase["layers"]) for phase in phases]
    groups: dict[tuple[float, ...], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        key = tuple(rate.get(name, 0.0) for rate in rates)
        if any(key):
            groups.setdefault(key, []).append(parameter)
    return [{"params": parameters, "lr": key[0], **options} for key, parameters in groups.items()]


def rates_by_parameter(network: nn.Module, layers: Mapping[str, float]) -> dict[str, float]:
    """The learning rate of every parameter that a phase trains, by the parameter's name.

    Raises:
        InvalidSchedule: a layer is unknown, has no parameters, has a rate that is not above 0, or is named twice.
    """
    rates: dict[str, float] = {}
    for layer, rate in layers.items():
        if not (isinstance(rate, int | float) and rate > 0):
            raise InvalidSchedule(
                f"{layer}: learning rate {rate!r}; expected a number above 0 (YAML: 1.0e-4, not 1e-4)"
            )
        names = parameters_of(network, layer)
        twice = next((name for name in names if name in rates), None)
        if twice:
            raise InvalidSchedule(f"{twice} is named twice in one phase, by {layer!r} and before")
        rates |= dict.fromkeys(names, float(rate))
    return rates


def parameters_of(network: nn.Module, layer: str) -> list[str]:
    """Names of the parameters that a layer of a phase means.

    Args:
        network: what is trained.
        layer: a module's dotted name; with `+` at its end, also its later siblings; `*` for everything.

    Raises:
        InvalidSchedule: there is no such layer, or it has no parameters.
    """
    modules = dict(network.named_modules())
    name = layer.removesuffix("+")
    if layer != "*" and (not name or name not in modules):
        own = ", ".join(child for child, _ in network.named_children())
        raise InvalidSchedule(f"{type(network).__name__} has no layer {name!r}; it has {own}")
    chosen = [""] if layer == "*" else [name]
    if layer.endswith("+"):
        parent = name.rpartition(".")[0]
        siblings = [f"{parent}.{child}".lstrip(".") for child, _ in modules[parent].named_children()]
        chosen = siblings[siblings.index(name) :]
    names = [p for p, _ in network.named_parameters() if any(not c or p.startswith(f"{c}.") for c in chosen)]
    if not names:
        raise InvalidSchedule(f"layer {layer!r} has no parameters to train")
    return names


def _in_eval_mode(module: nn.Module, _: Any) -> None:
    module.eval()
