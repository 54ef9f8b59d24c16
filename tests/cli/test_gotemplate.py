import pytest
from hypothesis import given
from hypothesis import strategies as st

from rundlet.cli.gotemplate import render_template
from rundlet.errors import InvalidArgument

VALUE = {
    "Name": "a/b",
    "Digest": "sha256:1",
    "RepoTags": ["one", "two"],
    "Labels": {"k": "v", "a.b": "c"},
    "Created": "",
    "Env": None,
    "Deep": {"List": [{"X": 1}, {"X": 2}]},
}


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("", ""),
        ("plain", "plain"),
        ("{{.Name}}:{{.Digest}}", "a/b:sha256:1"),
        ("{{ .Name }}", "a/b"),
        ("{{.RepoTags}}", "[one two]"),
        ("{{.Labels}}", "map[a.b:c k:v]"),
        ("{{.Labels.k}}", "v"),
        ('{{index .Labels "a.b"}}', "c"),
        ("{{index .RepoTags 1}}", "two"),
        ("{{json .Labels}}", '{"k":"v","a.b":"c"}'),
        ("{{.RepoTags | json}}", '["one","two"]'),
        ("{{len .RepoTags}} {{len .Env}}", "2 0"),
        ("{{range .RepoTags}}<{{.}}>{{end}}", "<one><two>"),
        ("{{range $i, $t := .RepoTags}}{{$i}}{{$t}} {{end}}", "0one 1two "),
        ("{{range $k, $v := .Labels}}{{$k}}={{$v}};{{end}}", "a.b=c;k=v;"),
        ("{{range .Deep.List}}{{.X}}{{end}}", "12"),
        ("{{range .RepoTags}}{{$.Name}}{{end}}", "a/ba/b"),
        ("{{range .Env}}x{{else}}none{{end}}", "none"),
        ("{{if .Created}}yes{{else}}no{{end}}", "no"),
        ("{{if and .Name (not .Created)}}yes{{end}}", "yes"),
        ('{{if eq .Name "a/b"}}same{{end}}', "same"),
        ("{{with .Labels}}{{.k}}{{end}}", "v"),
        ('{{join .RepoTags ","}}', "one,two"),
        ("{{upper .Name}} {{.Name | upper | lower}}", "A/B a/b"),
        ('{{printf "%s-%v" .Name .Digest}}', "a/b-sha256:1"),
        ("a {{- .Name -}} b", "aa/bb"),
        ("{{.Name}}\\n", "a/b\n"),
        ("{{/* a comment */}}x", "x"),
        ("{{.Env}}", "<no value>"),
        ('{{"text"}} {{`raw`}} {{12}} {{true}}', "text raw 12 true"),
    ],
)
def test_what_people_write(template, expected):
    assert render_template(template, VALUE) == expected


@pytest.mark.parametrize(
    "template",
    ["{{", "{{.Nome}}", "{{range .RepoTags}}", "{{end}}", "{{else}}", "{{}}", "{{nothing .Name}}", "{{.Name.x}}",
     "{{len}}", "{{range .Name}}{{end}}", "{{(.Name}}", "{{.Name .Digest}}", "{{$x}}", "{{if}}{{end}}",
     "{{range .RepoTags}}" * 100],
)  # fmt: skip
def test_what_is_not_understood_is_refused(template):
    with pytest.raises(InvalidArgument, match="template"):
        render_template(template, VALUE)


@given(st.text(alphabet='{}.$|()" abNameRepoTagsrangeifend:=,', max_size=60))
def test_any_text_is_rendered_or_refused(template):
    try:
        render_template(template, VALUE)
    except InvalidArgument:
        pass
