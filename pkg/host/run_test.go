package host

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// awkward are arguments that a shell would make something else of.
var awkward = []string{
	"", " ", "a b", "  leading", "tab\there", "new\nline", "\n", "trailing\n", "cr\r\n",
	"'", "''", "'\\''", `"`, `"$HOME"`, "$HOME", "${x:-y}", "$(id)", "`id`", "$((1+1))", "\\", "\\n", `a\`, "!", "!!",
	"*", "/etc/*", "?", "[a-z]", "{a,b}", "~", "~root", "-n", "--", "-", "-e", "#", "a#b", ";", "a;b", "&", "&&", "|", "||",
	">", ">/tmp/x", "<", "<<EOF", "(", ")", "=", "A=b", "%s", "é", "日本語", "\u202e", "🚀", "\x01\x02\x7f", "\xff\xfe", "\x1b[31m",
	"if", "then", "exit", "a'b\"c$d`e\\f\ng",
}

// show prints each argument with a NUL behind it.
func show(args ...string) []string {
	return append([]string{"sh", "-c", `for a in "$@"; do printf '%s\0' "$a"; done`, "sh"}, args...)
}

func TestQuoteAgainstShells(t *testing.T) {
	t.Parallel()
	for _, shell := range []string{"/bin/sh", "/bin/bash"} {
		line, err := quote(show(awkward...))
		require.NoError(t, err)
		out, err := exec.Command(shell, "-c", line).Output()
		require.NoError(t, err)
		assert.Equal(t, strings.Join(awkward, "\x00")+"\x00", string(out), shell)
	}
}

func FuzzQuote(f *testing.F) {
	for _, arg := range awkward {
		f.Add(arg)
	}
	f.Fuzz(func(t *testing.T, arg string) {
		line, err := quote([]string{"printf", "%s", arg})
		if strings.ContainsRune(arg, 0) {
			require.Error(t, err)
			return
		}
		require.NoError(t, err)
		out, err := exec.Command("/bin/sh", "-c", line).Output()
		require.NoError(t, err)
		require.Equal(t, arg, string(out))
	})
}

func TestQuoteRefuses(t *testing.T) {
	t.Parallel()
	for name, argv := range map[string][]string{
		"nothing": nil, "empty command": {""}, "NUL": {"echo", "a\x00b"}, "too long": {"echo", strings.Repeat("x", 128<<10)},
	} {
		_, err := quote(argv)
		assert.Error(t, err, name)
	}
}

func TestRun(t *testing.T) {
	t.Parallel()
	h := dial(t, startSSHD(t).config())

	t.Run("no byte is interpreted", func(t *testing.T) {
		out, err := h.Run(t.Context(), show(awkward...), nil)
		require.NoError(t, err)
		assert.Equal(t, strings.Join(awkward, "\x00")+"\x00", string(out.Stdout))
	})
	t.Run("the longest command line", func(t *testing.T) {
		long := strings.Repeat("x", maxCommandLine-len("'printf' '%s' ''"))
		out, err := h.Run(t.Context(), []string{"printf", "%s", long}, nil)
		require.NoError(t, err)
		assert.Equal(t, long, string(out.Stdout), "%s", out.Stderr)
	})
	t.Run("streams and exit code", func(t *testing.T) {
		out, err := h.Run(t.Context(), []string{"sh", "-c", "cat; echo bad >&2; exit 7"}, strings.NewReader("in"))
		require.NoError(t, err)
		assert.Equal(t, Output{Stdout: []byte("in"), Stderr: []byte("bad\n"), Exit: 7}, out)
	})
	t.Run("no such command", func(t *testing.T) {
		out, err := h.Run(t.Context(), []string{"no-such-command"}, nil)
		require.NoError(t, err)
		assert.Equal(t, 127, out.Exit)
	})
	t.Run("killed by a signal", func(t *testing.T) {
		out, err := h.Run(t.Context(), []string{"sh", "-c", "kill -KILL $$"}, nil)
		require.NoError(t, err)
		assert.Equal(t, 137, out.Exit)
	})
	t.Run("large streams both ways", func(t *testing.T) {
		data := bytes.Repeat([]byte("0123456789abcdef"), 1<<18)
		out, err := h.Run(t.Context(), []string{"cat"}, bytes.NewReader(data))
		require.NoError(t, err)
		assert.True(t, bytes.Equal(data, out.Stdout))
	})
	t.Run("stdin that nobody reads", func(t *testing.T) {
		out, err := h.Run(t.Context(), []string{"true"}, bytes.NewReader(make([]byte, 8<<20)))
		require.NoError(t, err)
		assert.Zero(t, out.Exit)
	})
	t.Run("too much output", func(t *testing.T) {
		_, err := h.Run(t.Context(), []string{"head", "-c", strconv.Itoa(maxOutput + 1), "/dev/zero"}, nil)
		assert.ErrorContains(t, err, "printed more than 32 MiB")
	})
}

func TestRunIsCancelled(t *testing.T) {
	t.Parallel()
	h := dial(t, startSSHD(t).config())
	marker := fmt.Sprintf("86399.%d", time.Now().UnixNano())
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	began := time.Now()
	_, err := h.Run(ctx, []string{"sleep", marker}, nil)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	assert.ErrorContains(t, err, "running sleep on "+h.String())
	assert.False(t, IsConnectionLost(err))
	assert.Less(t, time.Since(began), 5*time.Second)
	assert.Eventually(t, func() bool {
		return exec.Command("pgrep", "-f", "^sleep "+marker).Run() != nil
	}, patience, 50*time.Millisecond, "the command must not outlive its cancellation")
	out, err := h.Run(t.Context(), []string{"echo", "still"}, nil)
	require.NoError(t, err)
	assert.Equal(t, "still\n", string(out.Stdout))
}

func TestManyRunsAtOnce(t *testing.T) {
	t.Parallel()
	h := dial(t, startSSHD(t).config())
	var all sync.WaitGroup
	for i := range 40 {
		all.Go(func() {
			out, err := h.Run(t.Context(), []string{"sh", "-c", "sleep 0.05; echo $1", "sh", strconv.Itoa(i)}, nil)
			assert.NoError(t, err, "sshd allows only 10 sessions: they have to queue")
			assert.Equal(t, strconv.Itoa(i)+"\n", string(out.Stdout))
		})
	}
	all.Wait()
}

func TestStart(t *testing.T) {
	t.Parallel()
	h := dial(t, startSSHD(t).config())

	t.Run("a dialogue until end of file", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		p, err := h.Start(ctx, []string{"sh", "-c", `while read -r l; do echo "got $l"; done; exit 3`})
		require.NoError(t, err)
		cancel() // the process outlives the ctx of its start
		_, err = io.WriteString(p.Stdin, "one\n")
		require.NoError(t, err)
		line := make([]byte, 8)
		_, err = io.ReadFull(p.Stdout, line)
		require.NoError(t, err)
		assert.Equal(t, "got one\n", string(line))
		require.NoError(t, p.Stdin.Close())
		rest, err := io.ReadAll(p.Stdout)
		require.NoError(t, err)
		assert.Empty(t, rest)
		var exit *ExitError
		require.ErrorAs(t, p.Wait(), &exit)
		assert.Equal(t, 3, exit.Code)
	})
	t.Run("last words", func(t *testing.T) {
		p, err := h.Start(t.Context(), []string{"sh", "-c", "echo oh no >&2; exit 1"})
		require.NoError(t, err)
		assert.EqualError(t, p.Wait(), "sh ended with exit code 1: oh no")
		assert.NoError(t, p.Stdin.Close())
		assert.NoError(t, p.Close())
	})
	t.Run("closed", func(t *testing.T) {
		marker := fmt.Sprintf("86398.%d", time.Now().UnixNano())
		p, err := h.Start(t.Context(), []string{"sleep", marker})
		require.NoError(t, err)
		require.NoError(t, p.Close())
		require.NoError(t, p.Close())
		assert.ErrorIs(t, p.Wait(), ErrClosed)
		assert.Eventually(t, func() bool {
			return exec.Command("pgrep", "-f", "^sleep "+marker).Run() != nil
		}, patience, 50*time.Millisecond)
	})
}
