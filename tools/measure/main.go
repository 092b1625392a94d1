// Command measure counts the rooms of this house: how long functions and files
// are, how many files a package has, how deep imports go, how much is documented
// and tested. It prints one row of the table in ARCHITECTURE.md and every thing
// that is past its limit.
//
//	go run ./tools/measure       this module
//	go run ./tools/measure PATH  another one, to compare
//
// It exits with 1 when something is past its limit. Left out are generated files,
// testdata, vendor and examples; the sizes are those of code, not of tests.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
)

func main() {
	root := "."
	if len(os.Args) > 1 {
		root = os.Args[1]
	}
	if err := run(root, os.Stdout); err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "measure:", err)
		os.Exit(1)
	}
}

func run(root string, out io.Writer) error {
	h, err := walk(root)
	if err != nil {
		return err
	}
	if len(h.files) == 0 {
		return errors.New(root + " has no Go files")
	}
	_, _ = io.WriteString(out, h.table())
	past := h.past()
	for _, p := range past {
		_, _ = fmt.Fprintln(out, p)
	}
	if len(past) > 0 {
		return fmt.Errorf("%d past their limit", len(past))
	}
	return nil
}
