#include "fuzz/framer_target.h"
#include "fuzz/fuzz_input.h"

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  return ringway::test::FuzzFramer(ringway::FramingFormat::kRaw, data, size);
}
