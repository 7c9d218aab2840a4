"""The run folder of a training of one weight, put together as in a bundle."""

import contextlib

import pytest
import torch
from ignite.engine import Engine, Events

from monai_brain.data.splits import identities, read_datalist, seen_by_weights
from monai_brain.io import settings
from monai_brain.io.write import write_json
from monai_brain.training.run import (
    LEARNED_FROM,
    METRICS,
    CannotResume,
    TrainedOnTestPart,
    TrainingRun,
    read_history,
    refuse_seen,
)
from monai_brain.training.schedule import Schedule, annealed

EPOCHS, STEPS = 4, 4


def stop():
    raise InterruptedError


@pytest.fixture
def train(phantom_datalist, monkeypatch):
    """Train and give the rates that were noted; validation never improves on its first score."""
    monkeypatch.setattr(settings, "record", lambda: {"image_size": 8})

    def run(folder, kind="none", stopped_after=EPOCHS, resume=False, **options):
        network = torch.nn.Linear(1, 1)
        optimizer = torch.optim.SGD(network.parameters(), lr=1.0)
        plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, mode="max", patience=0, factor=0.5)
        how = {"plateau": plateau} if kind == "plateau" else {"annealing": kind}
        schedule = Schedule(network, optimizer, [{"layers": {"*": 1.0}}], EPOCHS, **how)
        trainer = Engine(lambda engine, batch: {"loss": network(torch.ones(1, 1)).sum()})
        trainer.state.max_epochs, trainer.state.epoch_length = EPOCHS, STEPS
        evaluator = Engine(lambda engine, batch: None)
        evaluator.state.metrics, evaluator.state.key_metric_name = dict.fromkeys(METRICS, 0.5), "val_macro_f1"
        evaluator.state.best_metric, evaluator.state.best_metric_epoch = 0.5, 1

        def validate(engine):
            evaluator.state.epoch = engine.state.epoch
            evaluator.fire_event(Events.COMPLETED)

        trainer.add_event_handler(Events.EPOCH_COMPLETED, validate)
        state = {"optimizer": optimizer, "schedule": schedule}
        TrainingRun(folder, phantom_datalist, network, optimizer, state, evaluator, options, resume).begin(trainer)
        schedule.attach(trainer, evaluator)
        trainer.add_event_handler(Events.EPOCH_STARTED(once=stopped_after + 1), stop)
        with pytest.raises(InterruptedError) if stopped_after < EPOCHS else contextlib.nullcontext():
            trainer.run(range(STEPS), max_epochs=EPOCHS)
        return [row["learning_rate"] for row in read_history(folder)]

    return run


@pytest.mark.parametrize("kind", ["plateau", "cosine"])
def test_rate_of_an_epoch_is_the_highest_that_it_was_trained_with(train, tmp_path, kind):
    total = EPOCHS * STEPS
    highest = [max(annealed(step, total) for step in range(start, start + STEPS)) for start in range(0, total, STEPS)]
    expected = {"plateau": [1.0, 1.0, 0.5, 0.25], "cosine": highest}[kind]
    assert train(tmp_path / "run", kind) == pytest.approx(expected)
    assert train(tmp_path / "stopped", kind, stopped_after=2) == pytest.approx(expected[:2])
    assert train(tmp_path / "stopped", kind, resume=True) == pytest.approx(expected)


def test_run_goes_on_with_its_own_options_and_those_that_were_not_noted_when_it_began(train, tmp_path):
    train(tmp_path / "run", stopped_after=1, val_interval=1)
    with pytest.raises(CannotResume, match="was started with val_interval 1, not 2"):
        train(tmp_path / "run", resume=True, val_interval=2)
    train(tmp_path / "old", stopped_after=1)
    assert len(train(tmp_path / "old", resume=True, val_interval=2)) == EPOCHS


def test_weights_that_saw_what_is_scored_are_refused_and_names_are_no_folders(tmp_path, monkeypatch):
    def datalist(path, **parts):
        path.parent.mkdir(exist_ok=True)
        write_json(path, {part: [{"image": name} for name in names] for part, names in parts.items()})
        return path

    run = datalist(tmp_path / "run" / "datalist.json", training=["a", "b"], validation=["c"], test=["d"]).parent
    write_json(run / "run.json", {"options": {"training_part": "training+validation"}})
    (run / "model.safetensors").touch()
    same = datalist(tmp_path / "same.json", training=["a", "b", "c"], test=["d"])
    other = datalist(tmp_path / "other.json", training=["d"], validation=["e"], test=["b", "c"])
    monkeypatch.chdir(run)
    for weights in (None, "none", "imagenet", str(tmp_path / "nowhere"), str(run)):
        refuse_seen(same, "training", weights)
    refuse_seen(other, "training+test", str(run))
    for weights in (str(run), str(run / "model.safetensors")):
        with pytest.raises(TrainedOnTestPart, match="2 images of this datalist's test part"):
            refuse_seen(other, "training", weights)
    for weights in ("none", "imagenet"):
        refuse_seen(other, "training", weights)


def test_weights_of_a_bundle_say_what_they_saw_wherever_it_lies(tmp_path):
    def datalist(folder, **parts):
        lists = {
            part: [
                {"image": f"{folder}{name}.tif", "group": name, "institution": "CS", "label": "m.tif"} for name in names
            ]
            for part, names in parts.items()
        }
        write_json(tmp_path / f"{folder.strip('/')}.json", lists)
        return tmp_path / f"{folder.strip('/')}.json"

    learned = datalist("here/", training=["TCGA_CS_1", "TCGA_CS_2"])
    seen = seen_by_weights(read_datalist(learned), "training")
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "model.safetensors").touch()
    write_json(tmp_path / "models" / "run.json", {"options": {}, LEARNED_FROM: " ".join(seen)})
    assert "TCGA" not in (tmp_path / "models" / "run.json").read_text()
    other = datalist("there/", training=["TCGA_CS_3"], test=["TCGA_CS_1"])
    for weights in (tmp_path, tmp_path / "models" / "model.safetensors"):
        with pytest.raises(TrainedOnTestPart, match="1 images of this datalist's test part"):
            refuse_seen(other, "training", str(weights))
    refuse_seen(other, "training+test", str(tmp_path))
    refuse_seen(datalist("else/", training=["TCGA_CS_1"], test=["TCGA_CS_4"]), "training", str(tmp_path))


@pytest.mark.parametrize("name", ["TCGA_CS_4941", "TCGA-CS-4941", "kaggle_3m/TCGA_CS_4941_19960909"])
def test_a_patient_is_known_again_however_it_is_written(name):
    one, other = (
        {"test": [{"image": "a.tif", "label": "b.tif", "group": own, "institution": "CS"}]}
        for own in ("TCGA_CS_4941_19960909", name)
    )
    assert identities(one, "test") == identities(other, "test")


def test_an_image_is_known_again_by_its_content():
    one = {"test": [{"image": "a/1.jpg", "label": 0, "group": 3, "sha256": "12"}]}
    other = {"training": [{"image": "2.jpg", "label": 0, "group": 7, "sha256": "12"}]}
    third = {"training": [{"image": "a/1.jpg", "label": 0, "group": 3, "sha256": "13"}]}
    (seen,) = identities(one, "test")
    assert seen & identities(other, "training")[0]
    assert not seen & identities(third, "training+test")[0]
    assert seen_by_weights(one, "training+test")[0] in identities(other, "training")[0]
