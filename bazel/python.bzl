"""Python libraries, servers and tests, without Bazel's native rules: those ask for @rules_cc, which is a download."""

load(":contracts.bzl", "ContractsInfo")

SourcesInfo = provider(
    doc = "Python files and what they need at run time.",
    fields = {"sources": "Depset of files", "contracts": "ContractsInfo, or None"},
)

def _collect(ctx):
    sources = depset(
        ctx.files.srcs,
        transitive = [dep[SourcesInfo].sources for dep in ctx.attr.deps if SourcesInfo in dep],
    )
    stubs = [dep[ContractsInfo] for dep in ctx.attr.deps if ContractsInfo in dep]
    stubs += [dep[SourcesInfo].contracts for dep in ctx.attr.deps if SourcesInfo in dep and dep[SourcesInfo].contracts]
    return SourcesInfo(sources = sources, contracts = stubs[0] if stubs else None)

def _library_impl(ctx):
    info = _collect(ctx)
    return [DefaultInfo(files = depset(ctx.files.srcs)), info]

_SOURCES = {
    "srcs": attr.label_list(allow_files = True),
    "deps": attr.label_list(),
}

python_library = rule(
    implementation = _library_impl,
    doc = "Python files and the libraries they import.",
    attrs = _SOURCES,
)

def _server_impl(ctx):
    info = _collect(ctx)
    folder = ctx.actions.declare_directory(ctx.label.name)
    launcher = ctx.actions.declare_file(ctx.label.name + ".sh")
    copies = ["mkdir -p {}/gen".format(folder.path)]
    inputs = info.sources.to_list()
    for source in inputs:
        copies.append("install -D -m 644 {} {}/{}".format(source.path, folder.path, source.short_path))
    if info.contracts:
        inputs = inputs + [info.contracts.generated]
        copies.append("cp -rL {}/. {}/gen".format(info.contracts.generated.path, folder.path))

    # Compiling every file finds what no longer parses before a server is started with it.
    copies.append('"$MLMESH_PYTHON" -m compileall -q {}'.format(folder.path))
    ctx.actions.run_shell(
        inputs = inputs,
        outputs = [folder],
        use_default_shell_env = True,
        command = "set -eu\n" + "\n".join(copies),
        mnemonic = "Server",
        progress_message = "Building server %s" % ctx.attr.module,
    )
    ctx.actions.write(
        launcher,
        """#!/usr/bin/env bash
set -eu
here="$(cd "$(dirname "${{BASH_SOURCE[0]}}")" && pwd)/{name}"
PYTHONPATH="$here:$here/clients/python:$here/gen/python" exec "${{MLMESH_PYTHON:-python3}}" -m {module} "$@"
""".format(name = ctx.label.name, module = ctx.attr.module),
        is_executable = True,
    )
    return [DefaultInfo(files = depset([folder, launcher]), executable = launcher, runfiles = ctx.runfiles([folder]))]

python_server = rule(
    implementation = _server_impl,
    doc = "A folder that holds a server with everything of ours that it imports, and a launcher.",
    executable = True,
    attrs = dict(_SOURCES, module = attr.string(mandatory = True, doc = "What `python -m` starts, for example servers.registry")),
)

def _test_impl(ctx):
    info = _collect(ctx)
    script = ctx.actions.declare_file(ctx.label.name + ".sh")
    runfiles = [source for source in info.sources.to_list()]
    roots = ["$PWD", "$PWD/clients/python"]
    if info.contracts:
        runfiles.append(info.contracts.generated)
        roots.append("$PWD/{}/{}".format(info.contracts.generated.short_path, info.contracts.python_root))
    ctx.actions.write(
        script,
        """#!/usr/bin/env bash
set -eu
cd "$TEST_SRCDIR/$TEST_WORKSPACE"
export HOME="$TEST_TMPDIR" PYTHONDONTWRITEBYTECODE=1 PYTHONPATH="{roots}"
exec "$MLMESH_PYTHON" -m pytest -q --numprocesses 2 --dist loadfile -p no:cacheprovider --rootdir "$PWD" -c pyproject.toml --basetemp "$TEST_TMPDIR/pytest" {paths}
""".format(roots = ":".join(roots), paths = " ".join(ctx.attr.paths)),
        is_executable = True,
    )
    return [DefaultInfo(executable = script, runfiles = ctx.runfiles(runfiles + ctx.files.data))]

pytest_test = rule(
    implementation = _test_impl,
    doc = "Runs pytest on paths of the repository.",
    test = True,
    attrs = dict(
        _SOURCES,
        paths = attr.string_list(mandatory = True),
        data = attr.label_list(allow_files = True),
    ),
)
