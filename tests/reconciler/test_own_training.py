"""A version that is trained by the caller's own process, which may be killed."""

from __future__ import annotations

from tests.stage import ANA, BOT, Stage


def test_a_version_whose_trainer_was_killed_has_failed_when_the_home_is_opened_again(stage: Stage) -> None:
    ref, _ = stage.registry.commands.own_training(BOT, "local", None, ANA)
    stage.run()
    assert stage.state(ref) == "training"
    stage.restart()
    stage.settle()
    assert (stage.state(ref), stage.version(ref).error) == (
        "failed",
        "the process that trained it ended without a result",
    )
    assert stage.history(str(ref))[-1].actor == "scheduler"


def test_a_version_that_is_trained_in_this_process_is_left_alone_until_it_is_done(stage: Stage) -> None:
    ref, folder = stage.registry.commands.own_training(BOT, "local", None, ANA)
    for _ in range(3):
        stage.run()
        stage.clock.advance(hours=10)
    assert stage.state(ref) == "training"
    (folder / "model.safetensors").write_bytes(b"weights")
    stage.registry.commands.own_training_ended(ref, folder, None, ANA)
    stage.settle()
    assert stage.state(ref) == "trained"
