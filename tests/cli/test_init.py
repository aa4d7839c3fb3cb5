import pytest

from r4t.cli import init
from r4t.errors import InputError
from r4t.support.configs import configs_folder


def test_configs_are_copied_to_be_edited(tmp_path, capsys):
    init.run([str(tmp_path / "mine")])
    source, target = configs_folder(), tmp_path / "mine" / "configs"
    names = sorted(path.relative_to(source) for path in source.rglob("*.yaml"))
    assert sorted(path.relative_to(target) for path in target.rglob("*.yaml")) == names
    for name in names:
        assert (target / name).read_bytes() == (source / name).read_bytes()
    assert f"{len(names)} configs copied to {target}" in capsys.readouterr().out


def test_nothing_is_overwritten(tmp_path):
    mine = tmp_path / "configs" / "toy" / "1_tune.yaml"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine\n")
    with pytest.raises(
        InputError, match="without configs .* found the file .*1_tune.yaml. Choose another"
    ):
        init.run([str(tmp_path)])
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [mine]
    assert mine.read_text() == "mine\n"
