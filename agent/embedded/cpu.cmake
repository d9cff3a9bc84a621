# Read by llama.cpp's build after its project() line. On aarch64 the crate's build script would fall back to plain armv8-a;
# every Jetson Orin, Thor and GB10 has dot product and half-precision arithmetic.
if(CMAKE_SYSTEM_PROCESSOR MATCHES "aarch64|arm64")
  set(GGML_CPU_ARM_ARCH "armv8.2-a+dotprod+fp16" CACHE STRING "" FORCE)
endif()
