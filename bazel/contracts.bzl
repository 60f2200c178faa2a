"""Stubs and descriptors out of the contracts, by the same code that `make generate` runs."""

ContractsInfo = provider(
    doc = "What is made from the contracts.",
    fields = {
        "generated": "Tree artifact in the shape of gen/",
        "python_root": "Path of the Python root within it",
    },
)

def _contracts_impl(ctx):
    generated = ctx.actions.declare_directory(ctx.label.name)
    ctx.actions.run_shell(
        inputs = ctx.files.srcs + ctx.files.generator,
        outputs = [generated],
        # MLMESH_PYTHON, the interpreter of the development environment, comes through --action_env.
        use_default_shell_env = True,
        command = (
            'PYTHONPATH=. "$MLMESH_PYTHON" -c \'import sys; from pathlib import Path; ' +
            "from tools.contracts.generate import generate; generate(Path(sys.argv[1]), Path(sys.argv[2]))' " +
            "\"$PWD/{}\" \"$PWD/proto\"".format(generated.path)
        ),
        mnemonic = "Contracts",
        progress_message = "Generating stubs, descriptors and documents from the contracts",
    )
    return [
        DefaultInfo(files = depset([generated]), runfiles = ctx.runfiles([generated])),
        ContractsInfo(generated = generated, python_root = "python"),
    ]

contracts = rule(
    implementation = _contracts_impl,
    doc = "Generates everything that `gen/` holds from the `.proto` files.",
    attrs = {
        "srcs": attr.label_list(allow_files = [".proto"], mandatory = True),
        "generator": attr.label_list(allow_files = True, mandatory = True),
    },
)
