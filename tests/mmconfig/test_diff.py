from trainer.mmconfig.diff import marked


def text(cfg, base):
    return [str(line) for line in marked(cfg, base)]


def test_marks_what_changed_what_is_new_and_what_is_gone():
    base = {"model": {"classes": 80, "size": (8, 16), "gone": 1}, "old": 3}
    lines = text({"model": {"classes": 10, "size": (8, 16)}, "fresh": [1]}, base)
    assert "    'classes': 10,  # was 80" in lines
    assert "    'size': (8, 16)," in lines
    assert "    # 'gone': 1  # removed" in lines
    assert "fresh = [1]  # new" in lines
    assert "# old  # removed" in lines


def test_an_inserted_transform_is_one_new_line():
    base = {"pipeline": [{"type": "Load"}, {"type": "Pack", "keys": ("a",)}]}
    cfg = {
        "pipeline": [{"type": "Load"}, {"type": "Flip", "prob": 0.5}, {"type": "Pack", "keys": ("a", "b")}]
    }
    lines = text(cfg, base)
    assert [line for line in lines if line.endswith("# new")] == ["    {'type': 'Flip', 'prob': 0.5},  # new"]
    assert any("'keys': ('a', 'b'),  # was ('a',)" in line for line in lines)


def test_a_tuple_that_became_a_list_is_a_change():
    assert text({"size": [1, 2]}, {"size": (1, 2)}) == ["size = [1, 2]  # was (1, 2)"]


def test_nothing_is_marked_where_nothing_differs():
    cfg = {"model": {"a": [{"type": "x" * 90, "b": 2}]}, "c": "d"}
    assert all(line.mark == "same" for line in marked(cfg, cfg))


def test_what_is_not_removed_reads_as_python():
    cfg = {"model": {"a": [{"type": "x" * 90, "b": (2,)}], "n": None}, "c": "d'e"}
    scope: dict = {}
    exec("\n".join(text(cfg, {})), scope)
    assert {key: scope[key] for key in cfg} == cfg
