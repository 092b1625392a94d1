package stack

import (
	"encoding/json"
	"fmt"

	"go.yaml.in/yaml/v4"
)

// Checks are the checks of a stack as its Compose file has them at the top level,
// under x-shiksha. They are read by who runs them; Compose's variables are not put
// in, since a check is shown and a variable may be a secret.
type Checks struct {
	// File is the Compose file's path in the workspace, Node the list.
	File string
	Node *yaml.Node
}

type storedChecks struct {
	File string `json:"file"`
	Text string `json:"text"`
}

// MarshalJSON writes them down with a stack.
func (c *Checks) MarshalJSON() ([]byte, error) {
	text, err := yaml.Marshal(c.Node)
	if err != nil {
		return nil, err
	}
	return json.Marshal(storedChecks{c.File, string(text)})
}

// UnmarshalJSON reads them back.
func (c *Checks) UnmarshalJSON(data []byte) error {
	var in storedChecks
	if err := json.Unmarshal(data, &in); err != nil {
		return err
	}
	var doc yaml.Node
	if err := yaml.Unmarshal([]byte(in.Text), &doc); err != nil {
		return err
	}
	if len(doc.Content) != 1 {
		return fmt.Errorf("the stored checks of %s are empty", in.File)
	}
	c.File, c.Node = in.File, doc.Content[0]
	return nil
}
