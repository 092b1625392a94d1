package main

import (
	"fmt"
	"regexp"
	"strings"
)

var version = regexp.MustCompile(`^v\d+\.\d+\.\d+$`)

// Notes gives what a changelog says of a version ("v1.2.3"): the text below its
// heading "## v1.2.3 ...", up to the next one.
func Notes(changelog, of string) (string, error) {
	if !version.MatchString(of) {
		return "", fmt.Errorf("%q is not a version like v1.2.3", of)
	}
	var notes []string
	found := false
	for line := range strings.Lines(changelog) {
		heading, is := strings.CutPrefix(line, "## ")
		switch {
		case is && found:
			return finish(notes, of)
		case is:
			words := strings.Fields(heading)
			found = len(words) > 0 && words[0] == of
		case found:
			notes = append(notes, line)
		}
	}
	return finish(notes, of)
}

func finish(notes []string, of string) (string, error) {
	text := strings.TrimSpace(strings.Join(notes, ""))
	if text == "" {
		return "", fmt.Errorf("CHANGELOG.md says nothing of %s: write what changes for users below a heading \"## %s\"", of, of)
	}
	return text + "\n", nil
}
