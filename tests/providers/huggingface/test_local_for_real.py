"""The whole way with the real libraries on a tiny model: train, deploy, chat, delete."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest

from providers.ports import DataSet, DeploymentRequest, ServingTarget, TrainingRequest
from tests.providers.huggingface.local_harness import LocalHarness
from tests.tiny_model import make_tiny_model, write_rows

pytestmark = pytest.mark.slow


def data_set(path: Path, rows: int) -> DataSet:
    return DataSet(path=write_rows(path, rows), sha256="0" * 64, rows=rows)


def test_a_real_model_is_trained_served_asked_and_deleted(tmp_path: Path, harness: LocalHarness) -> None:
    make_tiny_model(harness.folder / "models" / "real")
    provider = harness.connect(python=sys.executable, device="auto")
    request = TrainingRequest(
        name="job-1",
        token="t",
        model="support-bot",
        version=1,
        base_model="real",
        train=data_set(tmp_path / "train.jsonl", 16),
        validation=data_set(tmp_path / "validation.jsonl", 4),
        method="supervised",
        hyperparameters={"max_steps": 2, "batch_size": 4, "logging_steps": 1},
    )
    provider.training.submit(request)
    deadline = time.monotonic() + 200
    while (job := provider.training.poll(["job-1"])["job-1"]).outcome == "running":
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert (job.outcome, job.error) == ("succeeded", None), provider.training.log_tail("job-1")
    points = provider.training.metrics("job-1", after_step=0)
    assert [one.step for one in points] == [1, 2]
    assert "valid_loss" in points[-1].metrics
    assert job.artifact is not None
    assert provider.artifacts.get(job.artifact.id) is not None

    provider.deployments.create(
        DeploymentRequest(name="dep-1", token="d", model="support-bot", version=1, artifact=job.artifact)
    )
    while (report := provider.deployments.get("dep-1")) is not None and report.outcome == "provisioning":
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert report is not None
    assert (report.outcome, report.error) == ("serving", None)
    target = ServingTarget(
        artifact=job.artifact, deployment_id="dep-1", deployment_name="dep-1", endpoint=report.endpoint
    )
    question = {"messages": [{"role": "user", "content": "where is my order"}], "max_tokens": 4, "temperature": 0}
    answer = provider.chat.complete(target, question, timeout_s=60)
    chunks = list(provider.chat.stream(target, question, timeout_s=60))
    assert "".join(_text(one, "delta") for one in chunks) == _text(answer, "message")

    process = harness.process("deployments", "dep-1")
    provider.deployments.delete("dep-1")
    assert not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    assert provider.deployments.get("dep-1") is None
    provider.artifacts.delete(job.artifact.id)
    assert provider.artifacts.get(job.artifact.id) is None


def _text(answer: Mapping[str, Any], part: str) -> str:
    return str(answer["choices"][0][part].get("content") or "")
