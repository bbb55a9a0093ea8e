// Package matrixtest has no code but its tests: every store with every stack of
// codecs, behind a cache, on real servers. What one store or one codec must do by
// itself is the kits' in backend/backendtest and codec/codectest.
package matrixtest
