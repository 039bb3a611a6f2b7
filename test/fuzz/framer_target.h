#pragma once

#include <cstddef>
#include <cstdint>

#include "framer/framer.h"

namespace ringway::test {

// One input of a framer's target: whole, in pieces, byte by byte, patiently and not, and by the reference. All must
// agree. (Raw alone depends on how the bytes come: there only the concatenation is the same.)
int FuzzFramer(FramingFormat format, const uint8_t* data, size_t size);

}  // namespace ringway::test
