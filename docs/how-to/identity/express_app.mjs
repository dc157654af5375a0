// SPDX-License-Identifier: Apache-2.0
// Express behind the gate: who is calling comes from the gate's headers, and from nothing else.
import express from "express";

const app = express();

// The value of a header that the gate sets on each request, even if it is empty.
function gateHeader(request, name) {
  const values = request.headersDistinct[name.toLowerCase()] ?? [];
  if (values.length !== 1) {
    throw new Error(`${name} came ${values.length} times: this app has to be behind its gate`);
  }
  return values[0];
}

// The caller; on a route that is public at the gate there is none.
function withCaller(request, response, next) {
  const [subject, issuer, account, project] = ["Subject", "Issuer", "Account", "Project"].map((name) =>
    gateHeader(request, `X-Watchword-${name}`),
  );
  if (subject === "" || issuer === "") {
    response.status(401).send("this needs a caller, and its route is public at the gate");
    return;
  }
  request.caller = { subject, issuer, account, project };
  next();
}

// Answers for the account and the project that the gate decided on.
app.get("/accounts/:account/projects/:project/builds", withCaller, (request, response) => {
  const { subject, issuer, account, project } = request.caller;
  if (account === "" || project === "") {
    throw new Error("the route at the gate has to name {account} and {project}");
  }
  response.json({ subject, issuer, account, project });
});

app.use((error, request, response, next) => {
  console.error(error.message);
  response.status(500).send("misconfigured");
});

// Loopback: only the gate of this pod reaches it.
app.listen(Number(process.env.PORT ?? 8080), "127.0.0.1");
