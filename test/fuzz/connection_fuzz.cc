// A connection's whole life on the fake driver: bytes, cuts, closes and timeouts in any order.
#include "fuzz/connection_world.h"
#include "fuzz/fuzz_input.h"

namespace {
constexpr int kMostSteps = 300;
}

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  ringway::test::FuzzInput input(data, size);
  {
    ringway::test::ConnectionWorld world(&input);
    for (int step = 0; step < kMostSteps && !input.empty(); ++step) world.Step();
    world.Settle();
    world.End();
  }
  FUZZ_REQUIRE(ringway::Block::BytesInUse() == 0, "%zu bytes of blocks are left", ringway::Block::BytesInUse());
  return 0;
}
