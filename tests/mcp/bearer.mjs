// Stands between the conformance suite, which cannot send a token, and pyro's MCP server: adds the
// token to every request and changes nothing else.
//
//     node bearer.mjs ORIGIN TOKEN      prints the address to use

import http from 'node:http';

const [origin, token] = process.argv.slice(2);
const { hostname, port } = new URL(origin);

const server = http.createServer((request, response) => {
  const headers = [...request.rawHeaders, 'Authorization', `Bearer ${token}`];
  const { url: path, method } = request;
  const onward = http.request({ hostname, port, path, method, headers, setHost: false });
  onward.on('response', (answer) => {
    response.writeHead(answer.statusCode, answer.statusMessage, answer.rawHeaders);
    response.flushHeaders();
    answer.pipe(response);
    answer.on('error', () => response.destroy());
  });
  onward.on('error', () => response.destroy());
  response.on('close', () => onward.destroy());
  request.pipe(onward);
});
server.listen(0, '127.0.0.1', () => console.log(`http://127.0.0.1:${server.address().port}/mcp`));
