package report

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

// Who is called at night depends on it.
func TestProduction(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]bool{
		"production": true, "prod": true, "Prod-EU": true, "prod2": true, "eu-production": true, "shop_prod": true, "shop/live": true, "LIVE": true, "prd": true,
		"prodeu": true, "ProdWest": true, "ProductionEU": true, "prod1a": true, "produktion": true, "product-demo-prod": true, "productive": true, "Productive-EU": true,
		"product-demo": false, "productcatalog": false, "products": false,
		"": false, "staging": false, "staging-products": false, "review-product-page": false, "preprod": false, "pre-prod": false, "non-production": false, "reproduce": false, "delivery": false, "eu-pre-prod": false,
	} {
		assert.Equal(t, want, Production(name), name)
	}
}
