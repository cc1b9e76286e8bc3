"""Bedrock's customization jobs, the custom models that they make, and the base models that they start from."""

from __future__ import annotations

import hashlib
import json
from datetime import timedelta

from providers.rehearsal import bedrock_parts as aws
from providers.rehearsal.bedrock_results import result_files
from providers.rehearsal.http import Reply, json_reply
from providers.rehearsal.service import Exchange, RefusalError, Route
from providers.rehearsal.training_course import Course
from providers.rehearsal.truth import Json, Thing, table, tables
from providers.rehearsal.world import ACCOUNT_ID, BaseModel, World

JOB, MODEL, OBJECT = "bedrock.job", "bedrock.model", "s3.object"
NAME_MAX = 63
_FINAL = frozenset({"Completed", "Failed", "Stopped"})


class BedrockTraining:
    def __init__(self, world: World) -> None:
        self._world = world

    def routes(self) -> list[Route]:
        jobs, models = "/model-customization-jobs", "/custom-models"
        return [
            Route("POST", jobs, "bedrock.create_model_customization_job", "create", self._create),
            Route("GET", jobs, "bedrock.list_model_customization_jobs", "list", self._list),
            Route("GET", f"{jobs}/{{id}}", "bedrock.get_model_customization_job", "read", self._get),
            Route("POST", f"{jobs}/{{id}}/stop", "bedrock.stop_model_customization_job", "change", self._stop),
            Route("GET", models, "bedrock.list_custom_models", "list", self._list_models),
            Route("GET", f"{models}/{{id}}", "bedrock.get_custom_model", "read", self._get_model),
            Route("DELETE", f"{models}/{{id}}", "bedrock.delete_custom_model", "delete", self._delete_model),
            Route("GET", "/foundation-models", "bedrock.list_foundation_models", "list", self._bases),
            Route("GET", "/foundation-models/{id}", "bedrock.get_foundation_model", "read", self._base),
        ]

    def _create(self, call: Exchange) -> Reply:
        body, now = call.body, call.now
        if (before := aws.made_before(self._world, JOB, body, now)) is not None:
            return json_reply({"jobArn": before.id}, 201)
        base = self._checked(call, body)
        content = self._read(call, str(body["trainingDataConfig"]["s3Uri"]))
        validators = tables(table(body.get("validationDataConfig")).get("validators"))
        for validator in validators:
            self._read(call, str(validator["s3Uri"]))
        short = self._world.id("", 12)
        job = Thing(
            kind=JOB,
            id=aws.arn("model-customization-job", f"{base}/{short}"),
            name=body["jobName"],
            account=ACCOUNT_ID,
            created_at=now,
            body={
                **body,
                "token": body.get("clientRequestToken"),
                "tags": aws.tags_of(body.get("jobTags")),
                "base": base,
                "short": short,
                "course": _course(content, body.get("hyperParameters") or {}),
                "validated": bool(validators),
            },
        )
        self._world.truth.add(job)
        call.touched = job
        self._plan(call, job, call.doom() or _data_fault(content))
        return json_reply({"jobArn": job.id}, 201)

    def _checked(self, call: Exchange, body: Json) -> str:
        """The base model's name. Raises RefusalError for what Bedrock refuses before a job exists."""
        for field in ("jobName", "customModelName", "roleArn", "baseModelIdentifier", "trainingDataConfig"):
            if not body.get(field):
                raise aws.invalid(f"{field} is required.")
        if max(len(body["jobName"]), len(body["customModelName"])) > NAME_MAX:
            raise aws.invalid(f"Names have at most {NAME_MAX} characters.")
        if not str(body["roleArn"]).startswith("arn:aws:iam::"):
            raise RefusalError(403, "AccessDeniedException", f"Bedrock cannot assume the role {body['roleArn']}.")
        base = str(body["baseModelIdentifier"]).rsplit("/", 1)[-1]
        known = self._world.catalogue["bedrock"].get(base)
        if known is None or not known.fine_tunable or (known.retires_at and known.retires_at <= call.now):
            raise aws.invalid(f"The provided model identifier is invalid or cannot be customized: {base}")
        for kind, name in ((JOB, body["jobName"]), (MODEL, body["customModelName"])):
            if self._world.truth.find_named(kind, name, call.now) is not None:
                raise aws.invalid(f"The name {name} is already in use.")
        return base

    def _read(self, call: Exchange, uri: str) -> bytes:
        found = self._world.truth.find(OBJECT, uri.removeprefix("s3://"), call.now)
        if found is None:
            raise aws.invalid(f"Could not validate the S3 URI {uri}: there is nothing, or the role cannot read it.")
        return found.body["content"]

    def _plan(self, call: Exchange, job: Thing, failure: str | None) -> None:
        pace, now, body = self._world.pace, call.now, job.body
        start = now + timedelta(seconds=pace.validating_s + pace.queued_s)
        done = start + timedelta(seconds=pace.training_s)
        body["started_at"], body["checked_at"] = start, now + timedelta(seconds=pace.validating_s)
        body["products"] = []
        if failure is not None:
            body["failure"] = failure
            job.phases = [(now, "InProgress"), (body["checked_at"], "Failed")]
            return
        job.phases = [(now, "InProgress"), (done, "Completed")]
        model = Thing(
            kind=MODEL,
            id=aws.arn("custom-model", f"{body['base']}/{body['short']}"),
            name=body["customModelName"],
            account=ACCOUNT_ID,
            created_at=done,
            phases=[(done, "Active")],
            spans=[(done, None)],
            bills=("month", 1),
            body={"job": job, "tags": aws.tags_of(body.get("customModelTags")), "base": body["base"]},
        )
        body["products"] = [self._world.truth.add(thing) for thing in (model, *result_files(job, done))]

    def _list(self, call: Exchange) -> Reply:
        things = self._world.truth.newest_first(JOB, call.view)
        return aws.page(call, things, "modelCustomizationJobSummaries", lambda job: self._summary(call, job))

    def _get(self, call: Exchange) -> Reply:
        job = aws.named_or_arn(self._world, JOB, call.params["id"], call.view)
        call.touched = job
        kept = ("roleArn", "hyperParameters", "trainingDataConfig", "validationDataConfig", "outputDataConfig")
        shown: Json = {
            **self._summary(call, job),
            "outputModelName": job.body["customModelName"],
            "clientRequestToken": job.body["token"],
            "customizationType": job.body.get("customizationType") or "FINE_TUNING",
            **{name: job.body[name] for name in kept if job.body.get(name) is not None},
        }
        if "customModelArn" in shown:
            shown["outputModelArn"] = shown.pop("customModelArn")
            shown |= _metrics(job)
        if shown["status"] == "Failed":
            shown["failureMessage"] = str(job.body["failure"])
        shown.pop("customModelName")
        return json_reply(shown)

    def _summary(self, call: Exchange, job: Thing) -> Json:
        word, since = call.status(job), job.since(call.view)
        shown: Json = {
            "jobArn": job.id,
            "baseModelArn": aws.base_arn(job.body["base"]),
            "jobName": job.name,
            "status": word,
            "statusDetails": self._details(call, job, word),
            "lastModifiedTime": aws.told(self._world, since),
            "creationTime": aws.told(self._world, job.created_at),
            "customModelName": job.body["customModelName"],
            "customizationType": job.body.get("customizationType") or "FINE_TUNING",
        }
        if word in _FINAL:
            shown["endTime"] = aws.told(self._world, since)
        if word == "Completed":
            shown["customModelArn"] = job.body["products"][0].id
        return shown

    def _details(self, call: Exchange, job: Thing, word: str) -> Json:
        checked = call.view >= job.body["checked_at"]
        started = call.view >= job.body["started_at"]
        ended = word if word in _FINAL else "InProgress"
        words = {
            "validationDetails": "Completed" if checked else "InProgress",
            "dataProcessingDetails": "Completed" if started else ("InProgress" if checked else "NotStarted"),
            "trainingDetails": ended if started else "NotStarted",
        }
        if word == "Failed":
            words = {
                "validationDetails": "Failed",
                "dataProcessingDetails": "NotStarted",
                "trainingDetails": "NotStarted",
            }
        at = aws.told(self._world, job.created_at)
        return {name: {"status": text, "creationTime": at, "lastModifiedTime": at} for name, text in words.items()}

    def _stop(self, call: Exchange) -> Reply:
        job = aws.named_or_arn(self._world, JOB, call.params["id"], call.now)
        if job.status(call.now) in _FINAL:
            raise RefusalError(400, "ConflictException", f"The job {job.name} has ended.")
        job.begin(call.now, "Stopping")
        job.phases.append((call.now + timedelta(seconds=self._world.pace.deleting_s), "Stopped"))
        for product in job.body["products"]:
            product.end(call.now)
        return json_reply({})

    def _list_models(self, call: Exchange) -> Reply:
        things = self._world.truth.newest_first(MODEL, call.view)
        return aws.page(call, things, "modelSummaries", lambda model: self._model(call, model))

    def _get_model(self, call: Exchange) -> Reply:
        model = aws.named_or_arn(self._world, MODEL, call.params["id"], call.view)
        call.touched = model
        job: Thing = model.body["job"]
        kept = {
            name: job.body[name]
            for name in ("trainingDataConfig", "outputDataConfig", "hyperParameters")
            if job.body.get(name)
        }
        return json_reply({**self._model(call, model), "jobName": job.name, "jobArn": job.id, **kept, **_metrics(job)})

    def _model(self, call: Exchange, model: Thing) -> Json:
        return {
            "modelArn": model.id,
            "modelName": model.name,
            "creationTime": aws.told(self._world, model.created_at),
            "baseModelArn": aws.base_arn(model.body["base"]),
            "baseModelName": model.body["base"],
            "customizationType": "FINE_TUNING",
            "ownerAccountId": ACCOUNT_ID,
            "modelStatus": call.status(model),
        }

    def _delete_model(self, call: Exchange) -> Reply:
        model = aws.named_or_arn(self._world, MODEL, call.params["id"], call.now)
        for kind in ("bedrock.provisioned", "bedrock.deployment"):
            for thing in self._world.truth.things(kind, at=call.now):
                if thing.body["modelArn"] == model.id:
                    message = f"The model {model.name} is served by {thing.name} and cannot be deleted."
                    raise RefusalError(400, "ConflictException", message)
        call.delete(model)
        return json_reply({})

    def _bases(self, call: Exchange) -> Reply:
        del call
        return json_reply({"modelSummaries": [self._foundation(m) for m in self._world.catalogue["bedrock"].values()]})

    def _base(self, call: Exchange) -> Reply:
        name = call.params["id"].rsplit("/", 1)[-1]
        if (model := self._world.catalogue["bedrock"].get(name)) is None:
            raise aws.missing(name)
        return json_reply({"modelDetails": self._foundation(model)})

    def _foundation(self, model: BaseModel) -> Json:
        cycle: Json = {"status": "LEGACY" if model.retires_at else "ACTIVE"}
        if model.retires_at:
            cycle["endOfLifeTime"] = aws.told(self._world, model.retires_at)
        return {
            "modelArn": aws.base_arn(model.name),
            "modelId": model.name,
            "modelName": model.name,
            "providerName": "Amazon",
            "inputModalities": ["TEXT"],
            "outputModalities": ["TEXT"],
            "responseStreamingSupported": True,
            "customizationsSupported": ["FINE_TUNING"] if model.fine_tunable else [],
            "inferenceTypesSupported": ["PROVISIONED"],
            "modelLifecycle": cycle,
        }


def _metrics(job: Thing) -> Json:
    course: Course = job.body["course"]
    shown: Json = {"trainingMetrics": {"trainingLoss": course.train_loss(course.steps)}}
    if job.body["validated"]:
        shown["validationMetrics"] = [{"validationLoss": course.valid_loss(course.steps)}]
    return shown


def _course(content: bytes, hyperparameters: Json) -> Course:
    return Course(
        seed=hashlib.sha256(content).hexdigest(),
        rows=max(1, sum(1 for line in content.splitlines() if line.strip())),
        size_bytes=len(content),
        epochs=int(hyperparameters.get("epochCount", "2")),
        batch_size=int(hyperparameters.get("batchSize", "1")),
    )


def _data_fault(content: bytes) -> str | None:
    """Both formats are taken, and not mixed: prompt and completion, or bedrock-conversation-2024."""
    kinds: set[bool] = set()
    for number, line in enumerate(content.decode("utf-8-sig").splitlines(), start=1):
        try:
            row = table(json.loads(line))
        except ValueError:
            return f"Line {number} of the training data is not JSON."
        chat = row.get("schemaVersion") == "bedrock-conversation-2024"
        kinds.add(chat)
        if len(kinds) > 1:
            return f"Line {number} of the training data is in another format than the lines before."
        if fault := _row_fault(row, chat=chat):
            return f"Line {number} of the training data: {fault}"
    return None if kinds else "The training data is empty."


def _row_fault(row: Json, *, chat: bool) -> str | None:
    if not chat:
        fine = isinstance(row.get("prompt"), str) and isinstance(row.get("completion"), str)
        return None if fine else "prompt and completion must be texts."
    roles = [message.get("role") for message in tables(row.get("messages"))]
    wanted = ["user", "assistant"] * (len(roles) // 2)
    if not roles or roles != wanted:
        return f"roles must alternate, from user to assistant, and are {roles}."
    return None
