"""Bedrock's control plane: training, provisioned throughput, on-demand deployments, tags; and CloudWatch's metrics.

Provisioned throughput bills by the hour from the accepted request until it is deleted, and is not deleted before its
commitment ends. Lists carry no tags.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from providers.rehearsal import bedrock_parts as aws
from providers.rehearsal.bedrock_training import MODEL, BedrockTraining
from providers.rehearsal.faults import Fault
from providers.rehearsal.http import Reply, Request, json_reply
from providers.rehearsal.metrics import CloudWatch
from providers.rehearsal.service import Exchange, RefusalError, Route
from providers.rehearsal.truth import Json, Thing
from providers.rehearsal.world import ACCOUNT_ID, World

PROVISIONED, DEPLOYMENT = "bedrock.provisioned", "bedrock.deployment"
COMMITMENTS = {"OneMonth": timedelta(days=30), "SixMonths": timedelta(days=182)}


class BedrockService:
    name = "bedrock"
    request_id = "x-amzn-requestid"

    def __init__(self, world: World) -> None:
        self._world = world
        self._training = BedrockTraining(world)

    def routes(self) -> Sequence[Route]:
        many, one = "/provisioned-model-throughputs", "/provisioned-model-throughput"
        served = "/model-customization/custom-model-deployments"
        return [
            *self._training.routes(),
            Route("POST", one, "bedrock.create_provisioned_model_throughput", "create", self._provision),
            Route("GET", many, "bedrock.list_provisioned_model_throughputs", "list", self._list_provisioned),
            Route("GET", f"{one}/{{id}}", "bedrock.get_provisioned_model_throughput", "read", self._get_provisioned),
            Route(
                "DELETE", f"{one}/{{id}}", "bedrock.delete_provisioned_model_throughput", "delete", self._unprovision
            ),
            Route("POST", served, "bedrock.create_custom_model_deployment", "create", self._deploy),
            Route("GET", served, "bedrock.list_custom_model_deployments", "list", self._list_deployments),
            Route("GET", f"{served}/{{id}}", "bedrock.get_custom_model_deployment", "read", self._get_deployment),
            Route("DELETE", f"{served}/{{id}}", "bedrock.delete_custom_model_deployment", "delete", self._undeploy),
            Route("POST", "/listTagsForResource", "bedrock.list_tags_for_resource", "read", self._tags),
            Route("POST", "/tagResource", "bedrock.tag_resource", "change", self._tag),
            Route("POST", "/", "cloudwatch.get_metric_data", "read", CloudWatch(self._world).get_metric_data),
        ]

    def authorize(self, request: Request) -> None:
        aws.authorize_aws(request)

    def error(self, refusal: RefusalError) -> Reply:
        return aws.error_aws(refusal)

    def refusal(self, fault: Fault) -> RefusalError:
        return aws.refusal_aws(fault)

    def _provision(self, call: Exchange) -> Reply:
        body, now = call.body, call.now
        if (before := aws.made_before(self._world, PROVISIONED, body, now)) is not None:
            return json_reply({"provisionedModelArn": before.id}, 201)
        model = self._model(call, str(body.get("modelId")))
        units, commitment = int(body.get("modelUnits") or 0), body.get("commitmentDuration")
        self._check_units(call, units, commitment)
        self._check_name(call, PROVISIONED, str(body.get("provisionedModelName")))
        ends = now + COMMITMENTS[commitment] if commitment else None
        extra = {"modelUnits": units, "commitmentDuration": commitment, "ends_at": ends}
        thing = self._serving(call, PROVISIONED, "provisioned-model", model, str(body["provisionedModelName"]), extra)
        thing.bills = ("hour", units)
        return json_reply({"provisionedModelArn": thing.id}, 201)

    def _check_units(self, call: Exchange, units: int, commitment: str | None) -> None:
        if units < 1:
            raise aws.invalid("modelUnits must be at least 1.")
        if commitment is not None:
            if commitment not in COMMITMENTS:
                raise aws.invalid(f"commitmentDuration must be one of {sorted(COMMITMENTS)}.")
            return
        limit = self._world.limits.bedrock_units_without_commitment
        there = self._world.truth.things(PROVISIONED, at=call.now)
        used = sum(thing.body["modelUnits"] for thing in there if thing.body["commitmentDuration"] is None)
        if used + units > limit:
            message = f"Model units without commitment: {used} of {limit} are in use, {units} more were asked for."
            raise RefusalError(400, "ServiceQuotaExceededException", message)

    def _deploy(self, call: Exchange) -> Reply:
        if (before := aws.made_before(self._world, DEPLOYMENT, call.body, call.now)) is not None:
            return json_reply({"customModelDeploymentArn": before.id}, 202)
        model = self._model(call, str(call.body.get("modelArn")))
        name = str(call.body.get("modelDeploymentName"))
        self._check_name(call, DEPLOYMENT, name)
        thing = self._serving(call, DEPLOYMENT, "custom-model-deployment", model, name, {})
        return json_reply({"customModelDeploymentArn": thing.id}, 202)

    def _serving(self, call: Exchange, kind: str, noun: str, model: Thing, name: str, extra: Json) -> Thing:
        now, failure = call.now, call.doom()
        done = now + timedelta(seconds=self._world.pace.accepted_s + self._world.pace.creating_s)
        word = "Failed" if failure else ("InService" if kind == PROVISIONED else "Active")
        thing = Thing(
            kind=kind,
            id=aws.arn(noun, self._world.id("", 12)),
            name=name,
            account=ACCOUNT_ID,
            created_at=now,
            phases=[(now, "Creating"), (done, word)],
            body={
                **extra,
                "modelArn": model.id,
                "base": model.body["base"],
                "token": call.body.get("clientRequestToken"),
                "tags": aws.tags_of(call.body.get("tags")),
                "failure": failure,
            },
        )
        call.touched = thing
        return self._world.truth.add(thing)

    def _model(self, call: Exchange, identifier: str) -> Thing:
        return aws.named_or_arn(self._world, MODEL, identifier, call.now)

    def _check_name(self, call: Exchange, kind: str, name: str) -> None:
        if self._world.truth.find_named(kind, name, call.now) is not None:
            raise aws.invalid(f"The name {name} is already in use.")

    def _list_provisioned(self, call: Exchange) -> Reply:
        things = self._world.truth.newest_first(PROVISIONED, call.view)
        return aws.page(call, things, "provisionedModelSummaries", lambda thing: self._shown_provisioned(call, thing))

    def _get_provisioned(self, call: Exchange) -> Reply:
        thing = aws.named_or_arn(self._world, PROVISIONED, call.params["id"], call.view)
        call.touched = thing
        shown = self._shown_provisioned(call, thing)
        if shown["status"] == "Failed":
            shown["failureMessage"] = str(thing.body["failure"])
        return json_reply(shown)

    def _shown_provisioned(self, call: Exchange, thing: Thing) -> Json:
        body = thing.body
        shown: Json = {
            "provisionedModelName": thing.name,
            "provisionedModelArn": thing.id,
            "modelArn": body["modelArn"],
            "desiredModelArn": body["modelArn"],
            "foundationModelArn": aws.base_arn(body["base"]),
            "modelUnits": body["modelUnits"],
            "desiredModelUnits": body["modelUnits"],
            "status": call.status(thing),
            "creationTime": aws.told(self._world, thing.created_at),
            "lastModifiedTime": aws.told(self._world, thing.since(call.view)),
        }
        if body["ends_at"] is not None:
            shown["commitmentDuration"] = body["commitmentDuration"]
            shown["commitmentExpirationTime"] = aws.told(self._world, body["ends_at"])
        return shown

    def _unprovision(self, call: Exchange) -> Reply:
        thing = aws.named_or_arn(self._world, PROVISIONED, call.params["id"], call.now)
        ends_at = thing.body["ends_at"]
        if ends_at is not None and call.now < ends_at:
            when = aws.told(self._world, ends_at)
            message = f"The Provisioned Throughput cannot be deleted before its commitment ends at {when}."
            raise RefusalError(400, "ConflictException", message)
        call.delete(thing, after_s=self._world.pace.deleting_s)
        return json_reply({})

    def _list_deployments(self, call: Exchange) -> Reply:
        def summary(thing: Thing) -> Json:
            shown = self._shown_deployment(call, thing)
            return {**shown, "customModelDeploymentName": shown.pop("modelDeploymentName")}

        things = self._world.truth.newest_first(DEPLOYMENT, call.view)
        return aws.page(call, things, "modelDeploymentSummaries", summary)

    def _get_deployment(self, call: Exchange) -> Reply:
        thing = aws.named_or_arn(self._world, DEPLOYMENT, call.params["id"], call.view)
        call.touched = thing
        return json_reply(self._shown_deployment(call, thing))

    def _shown_deployment(self, call: Exchange, thing: Thing) -> Json:
        shown: Json = {
            "customModelDeploymentArn": thing.id,
            "modelDeploymentName": thing.name,
            "modelArn": thing.body["modelArn"],
            "createdAt": aws.told(self._world, thing.created_at),
            "lastUpdatedAt": aws.told(self._world, thing.since(call.view)),
            "status": call.status(thing),
        }
        if shown["status"] == "Failed":
            shown["failureMessage"] = str(thing.body["failure"])
        return shown

    def _undeploy(self, call: Exchange) -> Reply:
        thing = aws.named_or_arn(self._world, DEPLOYMENT, call.params["id"], call.now)
        call.delete(thing, after_s=self._world.pace.deleting_s)
        return json_reply({})

    def _tags(self, call: Exchange) -> Reply:
        tags: dict[str, str] = self._tagged(call).body["tags"]
        return json_reply({"tags": [{"key": key, "value": value} for key, value in tags.items()]})

    def _tag(self, call: Exchange) -> Reply:
        self._tagged(call).body["tags"].update(aws.tags_of(call.body.get("tags")))
        return json_reply({})

    def _tagged(self, call: Exchange) -> Thing:
        arn = str(call.body.get("resourceARN"))
        for kind in ("bedrock.job", MODEL, PROVISIONED, DEPLOYMENT):
            if (thing := self._world.truth.find(kind, arn, call.now)) is not None:
                return thing
        raise aws.missing(arn)
