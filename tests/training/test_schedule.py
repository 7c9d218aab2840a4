import copy

import pytest
import torch
from ignite.engine import Engine, Events
from ignite.handlers import EarlyStopping
from torch import nn

from monai_brain.networks.vgg import VGG
from monai_brain.training.schedule import InvalidSchedule, Schedule, annealed, parameter_groups, parameters_of

PHASES = [
    {"epochs": 2, "layers": {"classifier": 1.0e-2}},
    {"layers": {"features.11+": 1.0e-4, "classifier": 1.0e-3}},
]
EPOCH_LENGTH = 5


@pytest.fixture
def network():
    torch.manual_seed(0)
    return VGG(11, 4, "pooled", batch_norm=True)


def optimizer_of(network, phases=PHASES):
    return torch.optim.SGD(parameter_groups(network, phases), lr=1.0)


def run(schedule, network, epochs, optimizer, seen=None, evaluator=None):
    """A trainer that does what MONAI's does: the whole network in training mode before each step."""
    images, labels = torch.randn(8, 3, 32, 32), torch.arange(8) % 4

    def step(engine, _):
        network.train()
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(images), labels).backward()
        optimizer.step()

    trainer = Engine(step)
    schedule.attach(trainer, evaluator)
    if seen is not None:
        trainer.add_event_handler(Events.ITERATION_COMPLETED, seen)
    trainer.run(range(EPOCH_LENGTH), max_epochs=epochs)


def test_frozen_parts_stay_bit_equal_and_the_others_move(network):
    optimizer = optimizer_of(network)
    states = [copy.deepcopy(network.state_dict())]
    schedule = Schedule(network, optimizer, PHASES, max_epochs=3, weights="file")
    run(schedule, network, 3, optimizer, lambda _: states.append(copy.deepcopy(network.state_dict())))
    before, first = states[0], states[2 * EPOCH_LENGTH]
    for name, tensor in network.state_dict().items():
        frozen = name.startswith("features") and int(name.split(".")[1]) < 11
        assert torch.equal(first[name], before[name]) == name.startswith("features"), name
        if frozen or not name.endswith("bias"):  # before a batch norm, a bias has no gradient
            assert torch.equal(tensor, before[name]) == frozen, name


def test_rates_are_the_phases_own(network):
    optimizer, rates = optimizer_of(network), []
    schedule = Schedule(network, optimizer, PHASES, max_epochs=3, weights="file")
    run(schedule, network, 3, optimizer, lambda _: rates.append(sorted({g["lr"] for g in optimizer.param_groups})))
    assert rates == [[0.0, 1.0e-2]] * 10 + [[1.0e-4, 1.0e-3]] * 5


def test_cosine_climbs_and_falls_within_each_phase(network):
    optimizer, rates = optimizer_of(network), []
    schedule = Schedule(network, optimizer, PHASES, max_epochs=6, annealing="cosine", weights="file")
    run(schedule, network, 6, optimizer, lambda _: rates.append(max(g["lr"] for g in optimizer.param_groups)))
    first, second = rates[:10], rates[10:]
    assert max(first) == pytest.approx(1.0e-2)
    assert max(second) == pytest.approx(1.0e-3, rel=0.02)
    assert first[1:] == sorted(first[1:], reverse=True)
    assert second[2:] == sorted(second[2:], reverse=True)
    assert second[0] < second[1]
    assert second[-1] < 1.0e-5


def test_annealing_is_half_a_cosine():
    assert annealed(50, 100) == pytest.approx(0.5)
    assert annealed(0, 100) == pytest.approx(0.1)
    assert annealed(99, 100) < 1e-3


def test_counters_start_anew_with_a_phase(network):
    optimizer, evaluator = optimizer_of(network), Engine(lambda engine, batch: None)
    evaluator.state.metrics, evaluator.state.key_metric_name = {"score": 0.5}, "score"
    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, mode="max", patience=0, factor=0.5)
    stopping = EarlyStopping(patience=100, score_function=lambda engine: 0.5, trainer=Engine(lambda e, b: None))
    evaluator.add_event_handler(Events.COMPLETED, stopping)
    schedule = Schedule(
        network, optimizer, PHASES, max_epochs=4, plateau=plateau, early_stopping=stopping, weights="file"
    )
    seen = []

    def validate(engine):
        if engine.state.iteration % EPOCH_LENGTH == 0:
            evaluator.run([0])
            evaluator.state.metrics = {"score": 0.5}
        seen.append((plateau.num_bad_epochs, stopping.counter, max(g["lr"] for g in optimizer.param_groups)))

    evaluator.add_event_handler(Events.EPOCH_STARTED, lambda e: e.state.metrics.update(score=0.5))
    run(schedule, network, 4, optimizer, validate, evaluator)
    assert seen[9][1] == 1  # one validation without improvement in the first phase
    assert seen[9][2] == pytest.approx(0.5e-2)  # and the plateau halved the rate
    assert seen[10][1] == 0
    assert seen[10][2] == pytest.approx(1.0e-3)
    assert seen[19][1] == 1


def test_groups_hold_every_trained_parameter_once(network):
    groups = parameter_groups(network, PHASES)
    ids = [id(p) for group in groups for p in group["params"]]
    trained = [p for n, p in network.named_parameters() if n.startswith("classifier") or int(n.split(".")[1]) >= 11]
    assert sorted(ids) == sorted(map(id, trained))
    assert len(groups) == 2


def test_a_plus_means_this_layer_and_those_after_it(network):
    assert {int(n.split(".")[1]) for n in parameters_of(network, "features.25+")} == {25, 26}
    assert parameters_of(network, "*") == [n for n, _ in network.named_parameters()]


@pytest.mark.parametrize(
    ("phases", "message"),
    [
        ([], "there is no phase"),
        ([{"layers": {"clasifier": 1.0}}], "has no layer 'clasifier'; it has features, avgpool, classifier"),
        ([{"layers": {"features.2": 1.0}}], "no parameters to train"),
        ([{"layers": {"features": 1.0, "features.0": 1.0}}], "features.0.weight is named twice"),
        ([{"layers": {"*": "1e-4"}}], "expected a number above 0"),
        ([{"layers": {"*": 1.0}, "epochs": 3}], "last phase lasts until max_epochs"),
        ([{"layers": {"*": 1.0}}, {"layers": {"*": 0.1}}], "phase 1 of 2 has no epochs"),
        ([{"layers": {"*": 1.0}, "epochs": 4}, {"layers": {"*": 0.1}}], "phase 2 would begin with epoch 5.*is 4"),
        ([{"layers": {"*": 1.0}, "epoch": 4}], "it takes layers, and epochs"),
        ([{"epochs": 4}], "it takes layers"),
    ],
)
def test_phases_that_do_not_fit_are_refused(phases, message):
    network = VGG(11, 4, "pooled")
    optimizer = torch.optim.SGD(network.parameters(), lr=1.0)
    with pytest.raises(InvalidSchedule, match=message):
        Schedule(network, optimizer, phases, max_epochs=4, weights="file")


def test_frozen_layers_at_random_values_are_refused(network):
    with pytest.raises(InvalidSchedule, match=r"phase 1 freezes \d+ parameters at random values"):
        Schedule(network, optimizer_of(network), PHASES, max_epochs=3, weights="none")


def test_two_owners_of_the_rate_are_refused(network):
    optimizer = optimizer_of(network)
    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer)
    with pytest.raises(InvalidSchedule, match="both set the learning rate"):
        Schedule(network, optimizer, PHASES, max_epochs=3, annealing="cosine", plateau=plateau, weights="file")
