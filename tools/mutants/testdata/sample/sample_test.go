package sample

import "testing"

func TestBetween(t *testing.T) {
	if !Between(3, 1, 5) || Between(0, 1, 5) || Between(6, 1, 5) {
		t.Error("between")
	}
}

func TestSign(t *testing.T) {
	if Sign(-3) != -1 || Sign(0) != 0 || Sign(3) != 1 {
		t.Error("sign")
	}
}

func TestLonger(t *testing.T) {
	if Longer("aaa", "b") != "aaa" {
		t.Error("longer")
	}
}
