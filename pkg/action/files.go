package action

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
)

// MaxSummary is the largest job summary of a step that GitHub takes, in bytes;
// of a larger one it shows nothing at all.
const MaxSummary = 1 << 20

// MaxOutput is the largest output we write, in bytes. GitHub counts UTF-16 and
// allows 1 MB for all outputs of a job.
const MaxOutput = 256 << 10

var outputName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_-]*$`)

// SetOutput sets an output of the step. Without a runner that takes outputs it
// does nothing. The value ends at a random delimiter; a value that contains it,
// which is no accident, is refused.
func (a *Action) SetOutput(name, value string) error {
	if !outputName.MatchString(name) {
		return fmt.Errorf("%q cannot be the name of an output", name)
	}
	if len(value) > MaxOutput {
		return fmt.Errorf("output %s has %d bytes, more than the %d that are safe to hand on", name, len(value), MaxOutput)
	}
	return a.setOutput(name, value, "end-"+rand.Text())
}

func (a *Action) setOutput(name, value, delimiter string) error {
	if strings.Contains(value, delimiter) {
		return fmt.Errorf("output %s contains its own delimiter", name)
	}
	entry := name + "<<" + delimiter + "\n" + value + "\n" + delimiter + "\n"
	return a.appendTo("GITHUB_OUTPUT", entry)
}

const summaryCut = "\n\n> The rest did not fit into a job summary (1 MiB); the log has everything.\n"

// AddSummary appends markdown to the job summary. What does not fit is cut off
// at a line, with a note. Without a runner it does nothing.
func (a *Action) AddSummary(markdown string) error {
	if !strings.HasSuffix(markdown, "\n") {
		markdown += "\n"
	}
	room := MaxSummary - a.size("GITHUB_STEP_SUMMARY")
	if len(markdown) >= room {
		keep := max(0, room-len(summaryCut)-1)
		markdown = markdown[:keep]
		markdown = markdown[:strings.LastIndexByte(markdown, '\n')+1]
		if room > len(summaryCut) {
			markdown += summaryCut
		}
	}
	return a.appendTo("GITHUB_STEP_SUMMARY", markdown)
}

func (a *Action) size(variable string) int {
	info, err := os.Stat(a.getenv(variable))
	if err != nil {
		return 0
	}
	return int(info.Size())
}

// appendTo adds text to the file that the variable names. A runner that names
// none (or a file it did not mount, as act does in some modes) takes nothing.
func (a *Action) appendTo(variable, text string) (err error) {
	path := a.getenv(variable)
	if path == "" || !a.Active() || text == "" {
		return nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("cannot open the file of %s: %w", variable, err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if _, err = f.WriteString(text); err != nil {
		return fmt.Errorf("cannot write to the file of %s: %w", variable, err)
	}
	return nil
}
