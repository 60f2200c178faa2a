"""Python libraries, programs and tests, without Bazel's native rules: those ask for @rules_cc, which is a download."""

load(":contracts.bzl", "ContractsInfo")

SourcesInfo = provider(
    doc = "Python files and what they need at run time.",
    fields = {"sources": "Depset of files", "contracts": "ContractsInfo, or None"},
)

def files(*folders):
    """Returns every file of some folders."""
    return native.glob([folder + "/**" for folder in folders], exclude = ["**/__pycache__/**"])

def _collect(ctx):
    sources = depset(
        ctx.files.srcs,
        transitive = [dep[SourcesInfo].sources for dep in ctx.attr.deps if SourcesInfo in dep],
    )
    stubs = [dep[ContractsInfo] for dep in ctx.attr.deps if ContractsInfo in dep]
    stubs += [dep[SourcesInfo].contracts for dep in ctx.attr.deps if SourcesInfo in dep and dep[SourcesInfo].contracts]
    return SourcesInfo(sources = sources, contracts = stubs[0] if stubs else None)

_SOURCES = {
    "srcs": attr.label_list(allow_files = True),
    "deps": attr.label_list(),
}

# Keeps the checkout, which `make venv` puts on the import path, from standing in for what a rule forgot to name.
_HIDING = {"_hiding": attr.label(default = "//bazel:hide_checkout/sitecustomize.py", allow_single_file = True)}

def _library_impl(ctx):
    return [DefaultInfo(files = depset(ctx.files.srcs)), _collect(ctx)]

python_library = rule(
    implementation = _library_impl,
    doc = "Python files and the libraries they import.",
    attrs = _SOURCES,
)

def _program_impl(ctx):
    info = _collect(ctx)
    folder = ctx.actions.declare_directory(ctx.label.name)
    launcher = ctx.actions.declare_file(ctx.label.name + ".sh")
    inputs = info.sources.to_list()
    commands = ["install -D -m 644 '{}' '{}/{}'".format(source.path, folder.path, source.short_path) for source in inputs]
    if info.contracts:
        inputs = inputs + [info.contracts.generated]
        commands.append("cp -RL '{}' '{}/gen'".format(info.contracts.generated.path, folder.path))

    # Both find what is broken before anybody starts it: a file that no longer parses, a library that no rule names.
    commands.append('"$MLMESH_PYTHON" -m compileall -q --invalidation-mode unchecked-hash -s "{0}" "{0}"'.format(folder.path))
    commands.append(
        'PYTHONPATH="{hiding}:{root}:{root}/clients/python:{root}/gen/python" "$MLMESH_PYTHON" -B -P -c "import {module}.__main__"'.format(
            hiding = "$PWD/" + ctx.file._hiding.dirname,
            module = ctx.attr.module,
            root = "$PWD/" + folder.path,
        ),
    )
    ctx.actions.run_shell(
        inputs = inputs + [ctx.file._hiding],
        outputs = [folder],
        # MLMESH_PYTHON, the interpreter of the development environment, comes through --action_env.
        use_default_shell_env = True,
        command = "set -eu\n" + "\n".join(commands),
        mnemonic = "Program",
        progress_message = "Building program %s" % ctx.attr.module,
    )
    ctx.actions.write(
        launcher,
        """#!/usr/bin/env bash
set -eu
here="$(cd "$(dirname "${{BASH_SOURCE[0]}}")" && pwd)/{name}"
PYTHONPATH="$here:$here/clients/python:$here/gen/python" exec "${{MLMESH_PYTHON:-python3}}" -P -m {module} "$@"
""".format(name = ctx.label.name, module = ctx.attr.module),
        is_executable = True,
    )
    return [DefaultInfo(files = depset([folder, launcher]), executable = launcher, runfiles = ctx.runfiles([folder]))]

python_program = rule(
    implementation = _program_impl,
    doc = "A folder that holds a program with everything of ours that it imports, and a launcher.",
    executable = True,
    attrs = dict(_SOURCES, module = attr.string(mandatory = True, doc = "What `python -m` starts, for example servers.registry"), **_HIDING),
)

def _test_impl(ctx):
    info = _collect(ctx)
    script = ctx.actions.declare_file(ctx.label.name + ".sh")
    runfiles = info.sources.to_list() + [ctx.file._hiding]
    if info.contracts:
        runfiles.append(info.contracts.generated)
    ctx.actions.write(
        script,
        """#!/usr/bin/env bash
set -eu
# Not TEST_TMPDIR: a socket's path has at most 107 bytes, and that folder's has more.
place="$(mktemp -d)"
trap 'rm -rf "$place"' EXIT
mkdir "$place/home" "$place/tmp"

# Copied, because runfiles are links: code that resolves its own path would find the checkout, and with it what no rule names.
cp -RL "$TEST_SRCDIR/$TEST_WORKSPACE" "$place/tree"
cd "$place/tree"
[ -e gen ] || cp -R '{generated}' gen

export HOME="$place/home" TMPDIR="$place/tmp" PYTHONDONTWRITEBYTECODE=1
export PYTHONPATH="$PWD/{hiding}:$PWD:$PWD/clients/python:$PWD/gen/python"
"$MLMESH_PYTHON" -m pytest -q --numprocesses 2 --dist loadfile -p no:cacheprovider --basetemp "$place/pytest" {paths} "$@"
""".format(
            generated = info.contracts.generated.short_path if info.contracts else "",
            hiding = ctx.file._hiding.short_path.rpartition("/")[0],
            paths = " ".join(ctx.attr.paths),
        ),
        is_executable = True,
    )
    return [DefaultInfo(executable = script, runfiles = ctx.runfiles(runfiles))]

pytest_test = rule(
    implementation = _test_impl,
    doc = "Runs pytest on paths of the repository; `--test_arg` reaches it.",
    test = True,
    attrs = dict(_SOURCES, paths = attr.string_list(mandatory = True), **_HIDING),
)
