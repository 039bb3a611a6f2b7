// Random tests print their seed; RINGWAY_TEST_SEED runs one again.
#pragma once

#include <doctest/doctest.h>

#include <cstdint>
#include <cstdlib>
#include <random>

namespace ringway::test {

inline uint64_t RandomSeed() {
  const char* given = std::getenv("RINGWAY_TEST_SEED");
  const uint64_t seed = given != nullptr ? std::strtoull(given, nullptr, 10) : std::random_device()();
  MESSAGE("RINGWAY_TEST_SEED=" << seed);
  return seed;
}

// Uniform in [low, high].
inline uint64_t Between(std::mt19937_64& random, uint64_t low, uint64_t high) {
  return std::uniform_int_distribution<uint64_t>(low, high)(random);
}

}  // namespace ringway::test
