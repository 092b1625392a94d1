package gateway

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var writeGolden = flag.Bool("golden", false, "write the golden files anew")

// TestFindings judges each configuration for the service api on port 8000, which
// is called backend on its network as well; api-9 is a service of its own.
func TestFindings(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/conf/*.conf")
	require.NoError(t, err)
	require.Greater(t, len(files), 12)
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".conf"), func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(file)
			require.NoError(t, err)
			dump := "# configuration file /etc/nginx/nginx.conf:\n" + string(text)
			found := judge(Finding{Service: "api", Verdict: Refused}, "gateway gw", 8000, readNetwork(parseDump(dump)),
				names{aliases: []string{"backend"}, others: []string{"web", "api-9"}})
			got := printFinding(found)
			golden := strings.TrimSuffix(file, ".conf") + ".golden"
			if *writeGolden {
				require.NoError(t, os.WriteFile(golden, []byte(got), 0o644))
			}
			want, err := os.ReadFile(golden)
			require.NoError(t, err)
			assert.Equal(t, string(want), got)
			assert.Equal(t, found.Verdict == Refused, found.Err() != nil)
		})
	}
}

func printFinding(f Finding) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s\n%s\n", f.Verdict, f.Kind, f.Text)
	if f.Hint != "" {
		fmt.Fprintf(&b, "hint: %s\n", f.Hint)
	}
	for _, u := range f.Uses {
		fmt.Fprintf(&b, "use: %s %s\n", u.Kind, u)
	}
	for _, n := range f.Notes {
		fmt.Fprintf(&b, "note: %s\n", n)
	}
	return b.String()
}

func TestTokens(t *testing.T) {
	t.Parallel()
	cases := map[string][]string{
		`a b;`:                              {"a b"},
		"a\n  'b;c' \"d } e\" f;# g;":       {"a b;c d } e f"},
		`a "say \"hi\"" 'it\'s';`:           {`a say "hi" it's`},
		`a \d+\.x;`:                         {`a \d+\.x`},
		`a ${b}c;`:                          {"a ${b}c"},
		`a{b;}c;`:                           {"a", "b", "c"},
		`a x}y;`:                            {"a x}y"},
		`a b#c;`:                            {"a b#c"},
		`a ""; b`:                           {"a", "b"},
		`}} a; { b; {`:                      {"a", "b"},
		`a "never closed; b;`:               {"a never closed; b;"},
		`x_by_lua_block { if a { b } "} c;`: {"x_by_lua_block", "c"},
	}
	for text, want := range cases {
		var got []string
		walk(parseConfig("f", text), func(d *directive) {
			if d.name != "" {
				got = append(got, d.text())
			}
		})
		assert.Equal(t, want, got, text)
	}
	lines := parseConfig("f", "a;\n\nb 'x\ny' {\n c; }")
	assert.Equal(t, []int{1, 3, 5}, []int{lines[0].line, lines[1].line, lines[1].inner[0].line})
}

// TestVariablesStayBounded: variables made of each other must not multiply forever.
func TestVariablesStayBounded(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	for i := range 30 {
		fmt.Fprintf(&b, "set $v%d $v%d$v%d$v%d; set $v%d api; ", i, i+1, i+1, i, i)
	}
	b.WriteString("proxy_pass http://$v0:8000;")
	net := readNetwork(parseConfig("f", b.String()))
	assert.NotEmpty(t, net.targets)
	assert.LessOrEqual(t, len(net.targets), most+1)

	many := "map $x $up { default other; " + strings.Repeat("k v;", 200) + " z api; } proxy_pass http://$up:8000;"
	found := judge(Finding{Service: "api", Verdict: Refused}, "gw", 8000, readNetwork(parseConfig("f", many)), names{})
	assert.Equal(t, Refused, found.Verdict)
}

func FuzzConfig(f *testing.F) {
	files, err := filepath.Glob("testdata/conf/*.conf")
	require.NoError(f, err)
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(f, err)
		f.Add(string(text))
	}
	f.Add("a ${b}c \"d\\\" {\n# configuration file x:\n}")
	f.Add("set $a $a$a; set $b $a$b$a; proxy_pass http://$b$a$b:$a;")
	f.Fuzz(func(t *testing.T, text string) {
		lines := strings.Count(text, "\n") + 1
		walk(parseConfig("f", text), func(d *directive) {
			assert.True(t, d.line >= 1 && d.line <= lines, "line %d of %d", d.line, lines)
			for _, w := range append([]string{d.name}, d.args...) {
				assert.LessOrEqual(t, len(w), len(text))
			}
		})
		found := judge(Finding{Service: "api", Verdict: Refused}, "gw", 8000,
			readNetwork(parseDump("# configuration file f:\n"+text)), names{})
		assert.NotEmpty(t, found.Text)
		assert.NotEmpty(t, found.Kind)
	})
}
