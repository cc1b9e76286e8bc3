"""Training code of one's own for `tenure fine-tune --code examples/custom_training.py`: a plain loop in torch.

It shows the whole of what such a script is given and must leave behind; docs/custom-training.md explains it.
"""

# pyright: basic
from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

parser = argparse.ArgumentParser()
parser.add_argument("--train", type=Path, required=True)
parser.add_argument("--validation", type=Path)
parser.add_argument("--base-model", type=Path, required=True)
parser.add_argument("--output", type=Path, required=True)
parser.add_argument("--hyperparameters", type=Path, required=True)
arguments = parser.parse_args()

settings = json.loads(arguments.hyperparameters.read_text("utf-8"))
steps, rate = int(settings.get("steps", 20)), float(settings.get("learning_rate", 1e-4))
rows = [json.loads(line) for line in arguments.train.read_text("utf-8").splitlines()]

tokenizer = AutoTokenizer.from_pretrained(arguments.base_model)
model = AutoModelForCausalLM.from_pretrained(arguments.base_model, dtype=torch.float32)
optimizer = torch.optim.AdamW(model.parameters(), lr=rate)
model.train()

with Path(os.environ["TENURE_PROGRESS"]).open("a", encoding="utf-8") as progress:
    for step in range(1, steps + 1):
        row = rows[step % len(rows)]
        messages = [*row["prompt"], *row["completion"]]
        batch = tokenizer.apply_chat_template(messages, return_dict=True, return_tensors="pt")
        prompt = tokenizer.apply_chat_template(row["prompt"], add_generation_prompt=True, return_dict=True)["input_ids"]
        labels = batch["input_ids"].clone()
        labels[:, : len(prompt)] = -100
        loss = model(**batch, labels=labels).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        point = {"step": step, "metrics": {"train_loss": loss.item()}}
        print(json.dumps(point), file=progress, flush=True)

model.save_pretrained(arguments.output)
tokenizer.save_pretrained(arguments.output)
