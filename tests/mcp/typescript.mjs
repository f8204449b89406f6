// What the official TypeScript SDKs see of `pyro mcp serve`: version 1 (the revisions with
// `initialize`) and version 2, over stdio and HTTP.
//
//     node typescript.mjs      PYRO_E2E_PYRO names the binary

import assert from 'node:assert/strict';

import { Client as ClientV1 } from '@modelcontextprotocol/sdk/client/index.js';
import { StdioClientTransport as StdioV1 } from '@modelcontextprotocol/sdk/client/stdio.js';
import { StreamableHTTPClientTransport as HttpV1 } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { Client as ClientV2, StreamableHTTPClientTransport as HttpV2 } from '@modelcontextprotocol/client';
import { StdioClientTransport as StdioV2 } from '@modelcontextprotocol/client/stdio';

import { serve } from './served.mjs';

const PYRO = process.env.PYRO_E2E_PYRO;
const CORE_TOOLS = Number(process.env.PYRO_MCP_CORE_TOOLS);
const identity = { name: 'pyro-tests', version: '1' };

const stdio = { command: PYRO, args: ['mcp', 'serve'], env: process.env };
const versions = {
  'sdk 1': (transport) => [new ClientV1(identity), transport],
  'client 2': (transport) => [new ClientV2(identity), transport],
};

// The same story for every client and door.
async function tell(name, [client, transport]) {
  await client.connect(transport);
  const { tools } = await client.listTools();
  assert.equal(tools.length, CORE_TOOLS, name);
  const run = await client.callTool({ name: 'vm_run', arguments: { command: 'echo out; exit 3' } });
  assert.equal(run.structuredContent.stdout, 'out\n', name);
  assert.match(run.content[0].text, /exit code 3/, name);
  // The SDK checks structured content, also that of errors, against the output schema.
  const error = await client.callTool({ name: 'workspace_status', arguments: { workspace_id: 'nosuch' } });
  assert.equal(error.isError, true, name);
  assert.match(error.content[0].text, /workspace_not_found/, name);
  await serves(name, client);
  await client.close();
  console.log(`ok   ${name}`);
}

// A service from its start to its end, and one that fails.
async function serves(name, client) {
  const call = (tool, args) => client.callTool({ name: tool, arguments: args });
  const made = await call('workspace_create', {});
  const workspace = { workspace_id: made.structuredContent.workspace_id };
  try {
    const web = { ...workspace, service_name: 'web' };
    const command = 'exec python3 -u -m http.server 8000 --bind 127.0.0.1 --directory /srv';
    const started = await call('service_start', { ...web, command, ready_http: 'http://127.0.0.1:8000/' });
    assert.equal(started.structuredContent.ready, true, name);
    assert.match(started.content[0].text, /web is ready/, name);
    const waited = await call('service_wait', workspace);
    assert.match(waited.content[0].text, /1 of 1/, name);
    const logs = await call('service_logs', web);
    assert.match(logs.structuredContent.stderr, /GET \/ HTTP/, name);
    const failed = await call('service_start', { ...workspace, service_name: 'no', command: 'echo why; exit 3', ready_file: '/nowhere' });
    assert.equal(failed.isError, true, name);
    assert.equal(failed.structuredContent.exit_code, 3, name);
    assert.match(failed.content[0].text, /service_exited[^]*why/, name);
    const stopped = await call('service_stop', web);
    assert.equal(stopped.structuredContent.stop_reason, 'sigterm', name);
  } finally {
    await call('workspace_delete', workspace);
  }
}

for (const [name, client] of Object.entries(versions)) {
  const Stdio = name === 'sdk 1' ? StdioV1 : StdioV2;
  await tell(`typescript ${name} over stdio`, client(new Stdio(stdio)));
}
const { child, url, token } = await serve(PYRO, 'mcp', 'serve', '--http', '127.0.0.1:0');
try {
  for (const [name, client] of Object.entries(versions)) {
    const Http = name === 'sdk 1' ? HttpV1 : HttpV2;
    const requestInit = { headers: { Authorization: `Bearer ${token}` } };
    await tell(`typescript ${name} over http`, client(new Http(url, { requestInit })));
  }
} finally {
  child.kill();
}
