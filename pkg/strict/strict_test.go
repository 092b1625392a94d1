package strict

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v4"

	"github.com/shiksha/actions/pkg/fault"
)

// Kitchen has a field of every form that a key may have.
type kitchen struct {
	Common `yaml:",inline"`
	Name   string            `yaml:"name" jsonschema:"required"`
	Mode   string            `yaml:"mode" jsonschema:"enum=fast,enum=slow"`
	Number int               `yaml:"number"`
	Share  float64           `yaml:"share"`
	On     bool              `yaml:"on"`
	List   []string          `yaml:"list"`
	Parts  []part            `yaml:"parts"`
	Map    map[string]string `yaml:"map"`
	Maybe  *part             `yaml:"maybe"`
	Own    own               `yaml:"own"`
	Hidden string            `yaml:"-"`
	Least  int               `yaml:"least" jsonschema:"exclusiveMinimum=0"`
	Part   float64           `yaml:"part" jsonschema:"exclusiveMinimum=0"`
}

// Common is embedded: its keys are those of the struct itself.
type Common struct {
	Port int `yaml:"port"`
}

type part struct {
	ID string `yaml:"id" jsonschema:"required"`
}

// own reads itself.
type own string

func (o *own) UnmarshalNode(n *yaml.Node) error {
	if n.Value == "bad" {
		return fault.New(fault.Input, "", "write good", "is bad")
	}
	if n.Value == "worse" {
		return errors.New("is worse")
	}
	*o = own("<" + n.Value + ">")
	return nil
}

func decode(t *testing.T, text string) (kitchen, error) {
	t.Helper()
	root, err := Parse("k.yml", []byte(text))
	if err != nil {
		return kitchen{}, err
	}
	p := &Problems{File: "k.yml"}
	var k kitchen
	p.Decode(root, &k)
	return k, p.Err()
}

func TestDecode(t *testing.T) {
	t.Parallel()
	k, err := decode(t, `
name: n
mode: slow
number: -3
share: 0.5
on: true
list: [a, "1", 2]
parts: [{id: x}, {id: y}]
map: {a: b, "1": 2}
maybe: {id: z}
own: it
port: 80
least: 1
part: 0.1
`)
	require.NoError(t, err)
	assert.Equal(t, kitchen{Common: Common{80}, Name: "n", Mode: "slow", Number: -3, Share: 0.5, On: true, List: []string{"a", "1", "2"},
		Parts: []part{{"x"}, {"y"}}, Map: map[string]string{"a": "b", "1": "2"}, Maybe: &part{"z"}, Own: "<it>", Least: 1, Part: 0.1}, k)

	k, err = decode(t, "name: n")
	require.NoError(t, err)
	assert.Nil(t, k.Maybe, "what is not written is not there")
}

// Anchors and merge keys mean what they do in every Compose file: what stands in the
// mapping itself wins over what is merged, the first merged over later ones.
func TestDecode_AnchorsAndMergeKeys(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		text string
		want kitchen
	}{
		"alias":            {"name: &n x\nmode: fast\nmap: {a: *n}", kitchen{Name: "x", Mode: "fast", Map: map[string]string{"a": "x"}}},
		"merge":            {"name: n\nmaybe: &p {id: a}\nparts: [{<<: *p}, {<<: *p, id: b}]", kitchen{Name: "n", Maybe: &part{"a"}, Parts: []part{{"a"}, {"b"}}}},
		"the own key wins": {"<<: {name: x, number: 1}\nname: y", kitchen{Name: "y", Number: 1}},
		"several merged":   {"<<: [{name: x}, {name: y, number: 2}]", kitchen{Name: "x", Number: 2}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k, err := decode(t, c.text)
			require.NoError(t, err)
			assert.Equal(t, c.want, k)
		})
	}
}

func TestDecode_Mistakes(t *testing.T) {
	t.Parallel()
	for text, c := range map[string]struct{ says, hint string }{
		"name: n\nnubmer: 3":                   {`k.yml:2: unknown key "nubmer" in the file`, `did you mean "number"?`},
		"name: n\nxyzzy: 3":                    {`k.yml:2: unknown key "xyzzy" in the file`, "it may have port, name, mode, number, share, on, list, parts, map, maybe, own, least, part"},
		"name: n\nHidden: 3":                   {`k.yml:2: unknown key "Hidden" in the file`, ""},
		"name: n\nother: 3":                    {`k.yml:2: unknown key "other" in the file`, ""},
		"name: n\nmaybe:\n  id: a\n  di: b":    {`k.yml:4: unknown key "di" in maybe`, `did you mean "id"?`},
		"number: 3":                            {"k.yml:1: name is missing in the file", ""},
		"name: n\nparts:\n  - {id: a}\n  - {}": {"k.yml:4: id is missing in parts[1]", ""},
		"name: n\nname: m":                     {"k.yml:2: name stands there twice", "take one of them out"},
		"name: n\nmode: middling":              {"k.yml:2: mode is none of fast, slow", ""},
		"name: n\nnumber: many":                {"k.yml:2: number has to be a whole number", ""},
		"name: n\nnumber: 1.5":                 {"k.yml:2: number has to be a whole number", ""},
		"name: n\nshare: half":                 {"k.yml:2: share has to be a number", ""},
		"name: n\non: maybe":                   {"k.yml:2: on has to be true or false", ""},
		"name: n\non: \"true\"":                {"k.yml:2: on has to be true or false", ""},
		"name: n\nlist: a":                     {"k.yml:2: list has to be a list", ""},
		"name: n\nmap: [a]":                    {"k.yml:2: map has to be a mapping", ""},
		"name: n\nmaybe: a":                    {"k.yml:2: maybe has to be a mapping", "it may have id"},
		"name: [n]":                            {"k.yml:1: name has to be a single value", ""},
		"name:":                                {"k.yml:1: name has to be a single value", ""},
		"name: n\nown: bad":                    {"k.yml:2: own: is bad", "write good"},
		"name: n\nown: worse":                  {"k.yml:2: own: is worse", ""},
		"name: n\nleast: 0":                    {"k.yml:2: least has to be more than 0", "leave it out for the default"},
		"name: n\nleast: -1":                   {"k.yml:2: least has to be more than 0", ""},
		"name: n\npart: 0.0":                   {"k.yml:2: part has to be more than 0", ""},
		"name: n\npart: NaN":                   {"k.yml:2: part has to be more than 0", ""},
		"- a":                                  {"k.yml:1: the file has to be a mapping", "it may have"},
		"":                                     {"k.yml: is empty", ""},
		"# only words":                         {"k.yml: is empty", ""},
		"name: n\n a: [":                       {"k.yml:", "indentation, quotes, brackets"},
	} {
		t.Run(text, func(t *testing.T) {
			t.Parallel()
			_, err := decode(t, text)
			require.ErrorContains(t, err, c.says)
			assert.Contains(t, fault.Hint(err), c.hint)
			assert.Equal(t, fault.Input, fault.Of(err))
		})
	}
}

// All mistakes of a file are told at once, each with its line and its hint.
func TestDecode_SeveralMistakes(t *testing.T) {
	t.Parallel()
	_, err := decode(t, "nmae: n\nnumber: many\nown: bad")
	require.Error(t, err)
	assert.Equal(t, `4 mistakes in k.yml
  - k.yml:1: unknown key "nmae" in the file (did you mean "name"?)
  - k.yml:2: number has to be a whole number
  - k.yml:3: own: is bad (write good)
  - k.yml:1: name is missing in the file`, err.Error())
}

// A file cannot make the reader work for ever: neither by its size nor by aliases
// that multiply each other.
func TestDecode_Bounds(t *testing.T) {
	t.Parallel()
	_, err := Parse("k.yml", []byte("name: "+strings.Repeat("x", maxSize)))
	require.ErrorContains(t, err, "is larger than 1024 KiB")

	text := "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
	for i := range 9 {
		text += fmt.Sprintf("a%d: &a%d [%s]\n", i+1, i+1, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d, ", i), 10), ", "))
	}
	_, err = Parse("k.yml", []byte(text))
	require.ErrorContains(t, err, "too many parts")

	for _, text := range []string{"name: n\nmaybe: &m {<<: *m, id: 3}", "name: &n [*n]", "<<: &a [{name: x}, *a]"} {
		_, err = Parse("k.yml", []byte(text))
		require.ErrorContains(t, err, "an anchor is used inside of itself")
		assert.Equal(t, fault.Input, fault.Of(err))
	}
}

// Who decodes a part of a document that was read elsewhere is as safe.
func TestDecodeAs(t *testing.T) {
	t.Parallel()
	var doc yaml.Node
	require.NoError(t, yaml.Unmarshal([]byte("checks:\n  - {name: a, maybe: &m {<<: *m}}"), &doc))
	p := &Problems{File: "k.yml"}
	var list []kitchen
	p.DecodeAs("checks", doc.Content[0].Content[1], &list)
	require.EqualError(t, p.Err(), "k.yml:2: an anchor is used inside of itself")

	require.NoError(t, yaml.Unmarshal([]byte("checks:\n  - {name: a, on: 3}"), &doc))
	p = &Problems{File: "k.yml"}
	p.DecodeAs("checks", doc.Content[0].Content[1], &list)
	require.EqualError(t, p.Err(), "k.yml:2: checks[0].on has to be true or false")
}

func TestFields(t *testing.T) {
	t.Parallel()
	assert.Equal(t, []string{"port", "name", "mode", "number", "share", "on", "list", "parts", "map", "maybe", "own", "least", "part"}, Keys(reflect.TypeFor[kitchen]()))
	fields := Fields(reflect.TypeFor[kitchen]())
	assert.Equal(t, []string{"fast", "slow"}, Choices(fields[2]))
	assert.Empty(t, Choices(fields[1]))
	assert.True(t, Required(fields[1]))
	assert.False(t, Required(fields[2]))
}

// Whatever a file holds, reading it ends, and either fills the struct or says what is
// wrong and where.
func FuzzDecode(f *testing.F) {
	for _, seed := range []string{"name: n", "name: &a [*a]", "<<: *x", "? {a: b}\n: c", "name: !!int x", "- - - a", "{name: n, parts: [{id: 1}, {}]}",
		"a: &a {<<: *a}", "name: \"\\u0000\"", "on: yes\nname: n", "--- a\n--- b", "name: n\nmaybe: &m {<<: *m, id: 3}"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		ended := make(chan error)
		go func() {
			_, err := decode(t, text)
			ended <- err
		}()
		select {
		case err := <-ended:
			if err != nil {
				assert.Equal(t, fault.Input, fault.Of(err))
				assert.Contains(t, err.Error(), "k.yml")
			}
		case <-time.After(10 * time.Second):
			t.Fatal("reading it does not end")
		}
	})
}
