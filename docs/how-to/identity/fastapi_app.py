# SPDX-License-Identifier: Apache-2.0
"""FastAPI behind the gate: who is calling comes from the gate's headers, and from nothing else."""

import os
from dataclasses import dataclass
from typing import Annotated

import uvicorn
from fastapi import Depends, FastAPI, HTTPException, Request

app = FastAPI()


@dataclass(frozen=True)
class Caller:
    """Who the gate let in, and what it decided on."""

    subject: str
    issuer: str
    account: str
    project: str


def gate_header(request: Request, name: str) -> str:
    """The value of a header that the gate sets on each request, even if it is empty."""
    values = request.headers.getlist(name)
    if len(values) != 1:
        raise HTTPException(500, f"{name} came {len(values)} times: this app has to be behind its gate")
    return values[0]


def caller(request: Request) -> Caller:
    """The caller; on a route that is public at the gate there is none."""
    names = ("Subject", "Issuer", "Account", "Project")
    found = Caller(*(gate_header(request, f"X-Watchword-{name}") for name in names))
    if not found.subject or not found.issuer:
        raise HTTPException(401, "this needs a caller, and its route is public at the gate")
    return found


@app.get("/accounts/{account}/projects/{project}/builds")
def builds(by: Annotated[Caller, Depends(caller)]) -> dict[str, str]:
    """Answer for the account and the project that the gate decided on."""
    if not by.account or not by.project:
        raise HTTPException(500, "the route at the gate has to name {account} and {project}")
    return {"subject": by.subject, "issuer": by.issuer, "account": by.account, "project": by.project}


if __name__ == "__main__":
    # Loopback: only the gate of this pod reaches it.
    uvicorn.run(app, host="127.0.0.1", port=int(os.environ.get("PORT", "8080")))
