package main

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A newcomer reads `make help` and nothing else: it names every target, and what it
// names is there.
func TestNewcomer_MakeHelpListsEveryTarget(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("Makefile")
	require.NoError(t, err)
	var rules []string
	for _, match := range regexp.MustCompile(`(?m)^([a-zA-Z][\w-]*):(?:[^=]|$)`).FindAllStringSubmatch(string(text), -1) {
		rules = append(rules, match[1])
	}
	phony := regexp.MustCompile(`(?m)^\.PHONY: (.*)$`).FindStringSubmatch(string(text))
	require.Len(t, phony, 2)
	assert.ElementsMatch(t, rules, strings.Fields(phony[1]), ".PHONY has every target")

	out, err := exec.Command("make", "help").CombinedOutput()
	require.NoError(t, err, string(out))
	var told []string
	for _, match := range regexp.MustCompile(`(?m)^ +make (\S+) +\S`).FindAllStringSubmatch(string(out), -1) {
		told = append(told, match[1])
	}
	assert.ElementsMatch(t, rules, told, "make help has every target:\n%s", out)
	assert.Subset(t, told, []string{"demo", "test", "lint", "bench", "image", "help"})
}
