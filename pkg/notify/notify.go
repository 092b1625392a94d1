// Package notify tells people and their tools of a release: Slack of its start
// and its end, PagerDuty of one that left production in need of a person,
// Grafana of when it was.
package notify

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
)

// post sends a value as JSON. header gets the credentials; what is told of a
// failure has no address in it, since that may be a secret.
func post(ctx context.Context, client *http.Client, address string, header http.Header, value any) error {
	data, err := json.Marshal(value)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(data))
	if err != nil {
		return errors.New("its address cannot be used")
	}
	request.Header.Set("Content-Type", "application/json")
	for name, values := range header {
		request.Header[name] = values
	}
	response, err := client.Do(request)
	if err != nil {
		return withoutAddress(err)
	}
	defer response.Body.Close()
	said, _ := io.ReadAll(io.LimitReader(response.Body, 300))
	if response.StatusCode/100 != 2 {
		return fmt.Errorf("it answered %s: %s", response.Status, strings.TrimSpace(string(said)))
	}
	return nil
}

// withoutAddress takes the address out of an error of a request.
func withoutAddress(err error) error {
	var failed *url.Error
	if errors.As(err, &failed) {
		return failed.Err
	}
	return err
}
