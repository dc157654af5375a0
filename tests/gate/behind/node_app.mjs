// SPDX-License-Identifier: Apache-2.0
// A bare app for Node: `echo` as it comes, `events` one at a time, `headers` as JSON.
import { createServer } from "node:http";

let goOn = () => {};

const server = createServer(async (request, response) => {
  const name = request.url.split("?")[0].split("/").at(-1);
  const kind = name === "events" ? "text/event-stream" : "application/octet-stream";
  response.writeHead(200, { "Content-Type": kind });
  if (name === "echo") {
    request.pipe(response);
    return;
  }
  if (name === "events") {
    for (let number = 0; number < 3; number += 1) {
      const told = new Promise((resolve) => { goOn = resolve; });
      response.write(`data: ${number}\n\n`);
      await told;
    }
  } else if (name === "next") {
    goOn();
  } else {
    const pairs = [];
    for (let place = 0; place < request.rawHeaders.length; place += 2) {
      pairs.push([request.rawHeaders[place].toLowerCase(), request.rawHeaders[place + 1]]);
    }
    response.write(JSON.stringify(pairs));
  }
  response.end();
});
server.listen(Number(process.argv[2]), "127.0.0.1");
