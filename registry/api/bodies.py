"""What is sent: each body with its bounds and an example. Unknown keys are refused by name."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from registry.domain.bounds import REASON_CHARACTERS_MAX
from registry.domain.ids import NAME_PATTERN

NAME = f"^{NAME_PATTERN.pattern}$"
TEXT_MAX = 4_000

Name = Annotated[str, Field(pattern=NAME, max_length=63)]
Text = Annotated[str, Field(min_length=1, max_length=TEXT_MAX)]
Reason = Annotated[str | None, Field(description="Why; it stands in the event", max_length=REASON_CHARACTERS_MAX)]
DatasetId = Annotated[str, Field(description="What POST /api/v1/datasets answered", pattern=r"^ds_[0-9a-f]{24}$")]
Column = Annotated[str, Field(min_length=1, max_length=200)]


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Because(Body):
    """Why a move is made; the body may be left out."""

    model_config = ConfigDict(json_schema_extra={"example": {"reason": "better on refunds"}})

    reason: Reason = None


class NewModel(Body):
    model_config = ConfigDict(json_schema_extra={"example": {"model": "support-bot"}})

    model: Name
    policy: dict[str, Any] | None = None


class Active(Body):
    model_config = ConfigDict(json_schema_extra={"example": {"version": 3, "reason": "better on refunds"}})

    version: Annotated[int, Field(ge=1, le=999_999_999)]
    reason: Reason = None


class Attachment(Body):
    model_config = ConfigDict(json_schema_extra={"example": {"deployment": "support-bot-prod"}})

    deployment: Annotated[str, Field(min_length=1, max_length=2048)]
    reason: Reason = None


class ArtifactId(Body):
    id: Annotated[str, Field(min_length=1, max_length=2048)]


class NewVersion(Body):
    """A fine-tune (`base_model` and `train`), or an import (`artifact`)."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "connection": "azure-prod",
                    "base_model": "gpt-4.1-2025-04-14",
                    "train": "ds_0123456789abcdef01234567",
                    "hyperparameters": {"n_epochs": 2},
                },
                {"connection": "azure-prod", "artifact": {"id": "gpt-4.1-2025-04-14.ft-0a1b2c"}},
            ]
        }
    )

    connection: Name
    base_model: Text | None = None
    artifact: ArtifactId | None = None
    train: DatasetId | None = None
    validation: DatasetId | None = None
    prompt_column: Column = "prompt"
    completion_column: Column = "completion"
    system_column: Column | None = None
    system: Annotated[str, Field(max_length=100_000)] | None = None
    method: Annotated[str, Field(min_length=1, max_length=100)] = "supervised"
    hyperparameters: dict[str, Any] = Field(default_factory=dict[str, Any])
    code: DatasetId | None = Field(default=None, description="A script that was uploaded with ?check=false")
    activate: bool = False
    force: bool = Field(default=False, description="Also of a base model that its provider soon takes away")
    reason: Reason = None

    @model_validator(mode="after")
    def _one_of_both(self) -> NewVersion:
        if self.artifact is None and (self.base_model is None or self.train is None):
            raise ValueError("a fine-tune needs base_model and train, an import needs artifact")
        if self.artifact is not None and self.train is not None:
            raise ValueError("a version is either trained (train) or imported (artifact)")
        return self


class OwnVersion(Body):
    """A version that you train by your own code, elsewhere."""

    model_config = ConfigDict(json_schema_extra={"example": {"connection": "local", "base_model": "smollm2-135m"}})

    connection: Annotated[Name, Field(description="A huggingface connection: it serves the folder that you send")]
    base_model: Text | None = None
    reason: Reason = None


class Ended(Body):
    """How your training ended."""

    model_config = ConfigDict(json_schema_extra={"examples": [{}, {"error": "ValueError in the training code"}]})

    error: Annotated[Text | None, Field(description="Why it came to nothing; without it, the folder is checked")] = None
    reason: Reason = None


class NewConnection(BaseModel):
    """The keys of a [connections.NAME] table, with its name."""

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={
            "example": {"name": "openai-prod", "provider": "openai", "api_key_env": "OPENAI_API_KEY"},
        },
    )

    name: Name
    provider: Annotated[str, Field(min_length=1, max_length=63)]
