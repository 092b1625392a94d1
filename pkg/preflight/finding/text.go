package finding

import (
	"bytes"
	"net"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/shiksha/actions/pkg/stack"
)

var lineNumber = regexp.MustCompile(`line (\d+)|^(\d+):\d+: `)

// LineIn is the line that an error names, 0 for none.
func LineIn(err error) int {
	m := lineNumber.FindStringSubmatch(err.Error())
	if m == nil {
		return 0
	}
	n, _ := strconv.Atoi(m[1] + m[2])
	return n
}

// LineOf is the line on which a text stands first, 0 for nowhere.
func LineOf(content []byte, text string) int {
	i := bytes.Index(content, []byte(text))
	if i < 0 || text == "" {
		return 0
	}
	return bytes.Count(content[:i], []byte("\n")) + 1
}

// OneLine is a text without its line ends.
func OneLine(text string) string { return strings.Join(strings.Fields(text), " ") }

// Address cuts what a directive or a target names into host and port.
func Address(text string) (host, port string) {
	if strings.Contains(text, "://") {
		u, err := url.Parse(text)
		if err != nil {
			// A variable in it is read for every request and cannot be known here.
			return "", ""
		}
		return u.Hostname(), u.Port()
	}
	if h, p, err := net.SplitHostPort(text); err == nil {
		return h, p
	}
	return text, ""
}

// ConfigPath is the file that a command names by a flag.
func ConfigPath(command []string, flag, otherwise string) string {
	for i, arg := range command {
		for _, prefix := range []string{flag + "=", strings.TrimPrefix(flag, "-") + "="} {
			if v, ok := strings.CutPrefix(arg, prefix); ok {
				return v
			}
		}
		if arg == flag && i+1 < len(command) {
			return command[i+1]
		}
	}
	return otherwise
}

// Content is the content of one file that a unit mounts.
func Content(e stack.Entry) ([]byte, error) {
	if e.Content != nil {
		return e.Content, nil
	}
	return os.ReadFile(e.Source)
}

// SortedKeys lists the keys of a map.
func SortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
