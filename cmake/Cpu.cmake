# The kernels of the cpu device, once for each level of instructions.

if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64|amd64)$")
  target_compile_definitions(litemamba_objects PRIVATE LM_CPU_X86)
  target_sources(litemamba_objects PRIVATE kernels/cpu/level_avx2.c kernels/cpu/level_avx512.c)
  set_source_files_properties(kernels/cpu/level_avx2.c PROPERTIES COMPILE_OPTIONS "-mavx2;-mfma")
  set_source_files_properties(kernels/cpu/level_avx512.c PROPERTIES
    COMPILE_OPTIONS "-mavx2;-mfma;-mavx512f;-mavx512bw;-mavx512dq;-mavx512vl")
endif()
