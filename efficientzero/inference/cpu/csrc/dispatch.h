#ifndef EFFICIENTZERO_KERNELS_DISPATCH_H_
#define EFFICIENTZERO_KERNELS_DISPATCH_H_

#include "lstm.h"
#include "support.h"
#include "winograd.h"

namespace efficientzero {

// "avx512", "avx2" or "portable": what the kernels use here.
const char* InstructionSet();

}  // namespace efficientzero

#endif  // EFFICIENTZERO_KERNELS_DISPATCH_H_
