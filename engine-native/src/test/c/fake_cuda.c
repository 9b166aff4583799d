// A CUDA driver without a GPU, for tests of the engine. It is compiled against the real cuda.h, so that
// a function of another type than the header's does not compile, and built as libcuda.so.1.
//
// Device memory is host memory. Work is queued and done late: at a synchronisation, a query, or when
// memory is freed. So whoever reuses memory before the copy from it has happened gets wrong data, here
// as on a GPU. The kernels are those of src/test/cuda/probe.cu, known by name. The rules of captures,
// contexts, sizes and sticky errors are the real driver's as far as the engine can break them.
//
// Tests steer it through the fake_* functions at the end.
#include <cuda.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))
enum { MOST_PARAMETERS = 16, PARAMETER_BYTES = 512, MOST_ATTRIBUTES = 4 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

// ---- what tests set and read -------------------------------------------------------------------

static struct {
  int driver_version, devices, compute_major, compute_minor, compute_mode, init_error, retain_error, device_error;
  long memory_limit;
} machine;

typedef struct {
  char name[64];
  long calls;
  int fail_code;
  long fail_after;  // calls that still succeed; negative: no failure is set
} Function;

static Function functions[128];
static int function_count;
static long unplug_after = -1;  // calls of any kind that still succeed
static CUresult sticky;

static Function* function_of(const char* name) {
  for (int i = 0; i < function_count; i++)
    if (strcmp(functions[i].name, name) == 0) return &functions[i];
  if (function_count == 128) abort();
  Function* f = &functions[function_count++];
  snprintf(f->name, sizeof f->name, "%s", name);
  f->calls = 0;
  f->fail_after = -1;
  return f;
}

// Counts a call; an error where one was asked for.
static CUresult enter(const char* name) {
  Function* f = function_of(name);
  f->calls++;
  if (unplug_after == 0) return CUDA_ERROR_DEVICE_UNAVAILABLE;
  if (unplug_after > 0) unplug_after--;
  if (f->fail_after == 0) {
    f->fail_after = -1;
    return f->fail_code;
  }
  if (f->fail_after > 0) f->fail_after--;
  return CUDA_SUCCESS;
}

// ---- objects -----------------------------------------------------------------------------------

static __thread int current;       // 1 where this thread has a context
static __thread int capture_mode;  // CU_STREAM_CAPTURE_MODE_GLOBAL at first
static int retained, streams, events, graphs, executables, libraries;

typedef struct Allocation {
  char* memory;
  size_t bytes;
  bool host;
  struct Allocation* next;
} Allocation;
static Allocation* allocations;
static long device_bytes, device_count, host_count;

static bool inside(const void* at, size_t bytes, bool host) {
  for (Allocation* a = allocations; a; a = a->next)
    if (a->host == host && (const char*)at >= a->memory && (const char*)at + bytes <= a->memory + a->bytes) return true;
  return false;
}

static bool on_device(CUdeviceptr at, size_t bytes) {
  return inside((void*)at, bytes, false) || inside((void*)at, bytes, true);
}

struct CUlib_st {
  char kernels[32][32];
  int count;
};
struct CUfunc_st {
  char name[32];
  const char* parameters;  // one letter each: p i l f d t
  int shared_limit, non_portable;
};
static struct CUfunc_st known[] = {
    {"nothing", "", 49152, 0},          {"many_arguments", "pilfdpiflidf", 49152, 0}, {"axpy", "ppfi", 49152, 0},
    {"coordinates", "p", 49152, 0},     {"shared_sum", "pi", 49152, 0},               {"report", "piiii", 49152, 0},
    {"illegal_address", "p", 49152, 0}, {"spin", "l", 49152, 0},                      {"tiled", "itp", 49152, 0}};
enum { KNOWN = sizeof known / sizeof *known };

static size_t size_of(char parameter) {
  return parameter == 't' ? sizeof(CUtensorMap) : parameter == 'i' || parameter == 'f' ? 4 : 8;
}

static size_t offset_of(const char* parameters, int index) {
  size_t at = 0;
  for (int i = 0;; i++) {
    size_t alignment = parameters[i] == 't' ? 64 : size_of(parameters[i]);
    at = (at + alignment - 1) / alignment * alignment;
    if (i == index) return at;
    at += size_of(parameters[i]);
  }
}

typedef struct {
  struct CUfunc_st* function;
  unsigned grid[3], block[3], shared;
  int attributes;
  CUlaunchAttribute attribute[MOST_ATTRIBUTES];
  char values[PARAMETER_BYTES];
} Launch;

struct CUevent_st {
  bool recorded, done, timed;
  long tick;
};

typedef enum { TO_DEVICE, TO_HOST, WITHIN, FILL, KERNEL, EVENT } Kind;
typedef struct Operation {
  Kind kind;
  char* target;
  const char* source;
  size_t bytes;
  unsigned char value;
  struct CUevent_st* event;
  Launch launch;
  struct Operation* next;
} Operation;

struct CUgraph_st {
  Operation* first;
};
struct CUgraphExec_st {
  Operation* first;
};
struct CUstream_st {
  Operation* first;
  Operation* captured;
  int capturing;  // 0 no, 1 yes, 2 invalidated
};
static struct CUstream_st* the_stream;
static long clock_ticks;

static Launch launches[4096];
static long launch_count;

static void append(Operation** list, Operation* operation) {
  while (*list) list = &(*list)->next;
  operation->next = NULL;
  *list = operation;
}

static Operation* copy_of(const Operation* operation) {
  Operation* copy = malloc(sizeof *copy);
  *copy = *operation;
  return copy;
}

static void discard(Operation** list) {
  while (*list) {
    Operation* next = (*list)->next;
    free(*list);
    *list = next;
  }
}

// ---- the kernels -------------------------------------------------------------------------------

#define ARGUMENT(type, index) (*(type*)(launch->values + offset_of(launch->function->parameters, index)))

static CUresult run_kernel(const Launch* launch) {
  const char* name = launch->function->name;
  if (launch_count < 4096) launches[launch_count] = *launch;
  launch_count++;
  if (strcmp(name, "many_arguments") == 0) {
    double* out = ARGUMENT(double*, 0);
    const int* e = ARGUMENT(const int*, 5);
    if (!on_device((CUdeviceptr)out, 88)) return CUDA_ERROR_ILLEGAL_ADDRESS;
    out[0] = ARGUMENT(int, 1);
    out[1] = ARGUMENT(long long, 2);
    out[2] = ARGUMENT(float, 3);
    out[3] = ARGUMENT(double, 4);
    out[4] = e ? *e : -1;
    out[5] = ARGUMENT(int, 6);
    out[6] = ARGUMENT(float, 7);
    out[7] = ARGUMENT(long long, 8);
    out[8] = ARGUMENT(int, 9);
    out[9] = ARGUMENT(double, 10);
    out[10] = ARGUMENT(float, 11);
  } else if (strcmp(name, "axpy") == 0) {
    const float* x = ARGUMENT(const float*, 0);
    float* y = ARGUMENT(float*, 1);
    long n = ARGUMENT(int, 3), threads = (long)launch->grid[0] * launch->block[0];
    if (n > threads) n = threads;
    if (n > 0 && (!on_device((CUdeviceptr)x, 4 * (size_t)n) || !on_device((CUdeviceptr)y, 4 * (size_t)n)))
      return CUDA_ERROR_ILLEGAL_ADDRESS;
    for (long i = 0; i < n; i++) y[i] += ARGUMENT(float, 2) * x[i];
  } else if (strcmp(name, "coordinates") == 0) {
    int* out = ARGUMENT(int*, 0);
    for (unsigned z = 0; z < launch->grid[2]; z++)
      for (unsigned y = 0; y < launch->grid[1]; y++)
        for (unsigned x = 0; x < launch->grid[0]; x++) {
          int line[4] = {(int)x, (int)y, (int)z, (int)launch->block[0]};
          if (!on_device((CUdeviceptr)out, sizeof line)) return CUDA_ERROR_ILLEGAL_ADDRESS;
          memcpy(out, line, sizeof line);
          out += 4;
        }
  } else if (strcmp(name, "shared_sum") == 0) {
    long long words = ARGUMENT(int, 1);
    if (words * 4 > launch->shared) return CUDA_ERROR_ILLEGAL_ADDRESS;
    *ARGUMENT(long long*, 0) = words * (words - 1) / 2;
  } else if (strcmp(name, "report") == 0) {
    int* fault = ARGUMENT(int*, 0);
    if (!on_device((CUdeviceptr)fault, 16)) return CUDA_ERROR_ILLEGAL_ADDRESS;
    if (fault[0] == 0)
      for (int i = 0; i < 4; i++) fault[i] = ARGUMENT(int, i + 1);
  } else if (strcmp(name, "illegal_address") == 0) {
    return CUDA_ERROR_ILLEGAL_ADDRESS;
  } else if (strcmp(name, "spin") == 0) {
    clock_ticks += ARGUMENT(long long, 0);
  } else if (strcmp(name, "tiled") == 0) {
    memcpy(ARGUMENT(char*, 2), &ARGUMENT(CUtensorMap, 1), sizeof(CUtensorMap));
  }
  return CUDA_SUCCESS;
}

static CUresult run(Operation* operation) {
  clock_ticks++;
  switch (operation->kind) {
    case TO_DEVICE:
    case WITHIN:
      if (!on_device((CUdeviceptr)operation->target, operation->bytes)) return CUDA_ERROR_ILLEGAL_ADDRESS;
      if (operation->kind == WITHIN && !on_device((CUdeviceptr)operation->source, operation->bytes))
        return CUDA_ERROR_ILLEGAL_ADDRESS;
      memcpy(operation->target, operation->source, operation->bytes);
      return CUDA_SUCCESS;
    case TO_HOST:
      if (!on_device((CUdeviceptr)operation->source, operation->bytes)) return CUDA_ERROR_ILLEGAL_ADDRESS;
      memcpy(operation->target, operation->source, operation->bytes);
      return CUDA_SUCCESS;
    case FILL:
      if (!on_device((CUdeviceptr)operation->target, operation->bytes)) return CUDA_ERROR_ILLEGAL_ADDRESS;
      memset(operation->target, operation->value, operation->bytes);
      return CUDA_SUCCESS;
    case KERNEL: return run_kernel(&operation->launch);
    case EVENT:
      operation->event->done = true;
      operation->event->tick = clock_ticks;
      return CUDA_SUCCESS;
  }
  return CUDA_ERROR_UNKNOWN;
}

// Does queued work up to and with that event, or all of it.
static CUresult drain(struct CUstream_st* stream, struct CUevent_st* until) {
  while (stream && stream->first && !sticky && !(until && until->done)) {
    Operation* operation = stream->first;
    stream->first = operation->next;
    sticky = run(operation);
    free(operation);
  }
  return sticky;
}

static CUresult submit(struct CUstream_st* stream, Operation* operation) {
  if (sticky) return sticky;
  if (stream == NULL || stream != the_stream) return CUDA_ERROR_INVALID_HANDLE;
  if (stream->capturing == 2) return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
  append(stream->capturing ? &stream->captured : &stream->first, copy_of(operation));
  return CUDA_SUCCESS;
}

// A call that may not be made while this thread's capture goes on, unless in relaxed mode.
static CUresult unsafe(void) {
  if (the_stream && the_stream->capturing && capture_mode != CU_STREAM_CAPTURE_MODE_RELAXED) {
    the_stream->capturing = 2;
    return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
  }
  return sticky;
}

static bool is_initialised;

// Every function is ENTER or ENTER_CURRENT (which needs a context), a statement, and LEAVE.
#define BEGIN                                                                        \
  pthread_mutex_lock(&lock);                                                         \
  CUresult result = enter(__func__);                                                 \
  if (result == CUDA_SUCCESS && !is_initialised) result = CUDA_ERROR_NOT_INITIALIZED;
#define ENTER BEGIN if (result == CUDA_SUCCESS)
#define ENTER_CURRENT                                                        \
  BEGIN                                                                      \
  if (result == CUDA_SUCCESS && !current) result = CUDA_ERROR_INVALID_CONTEXT; \
  if (result == CUDA_SUCCESS)
#define LEAVE                  \
  pthread_mutex_unlock(&lock); \
  return result;

// ---- the driver's functions --------------------------------------------------------------------

EXPORT CUresult cuInit(unsigned int flags) {
  pthread_mutex_lock(&lock);
  CUresult result = enter(__func__);
  if (result == CUDA_SUCCESS) result = flags ? CUDA_ERROR_INVALID_VALUE : (CUresult)machine.init_error;
  if (result == CUDA_SUCCESS) is_initialised = true;
  LEAVE
}

EXPORT CUresult cuDriverGetVersion(int* version) {
  *version = machine.driver_version;
  return CUDA_SUCCESS;
}

EXPORT CUresult cuGetErrorName(CUresult error, const char** text) {
  switch ((int)error) {
#define NAME(code) case code: *text = #code; return CUDA_SUCCESS;
    NAME(CUDA_SUCCESS)
    NAME(CUDA_ERROR_INVALID_VALUE)
    NAME(CUDA_ERROR_OUT_OF_MEMORY)
    NAME(CUDA_ERROR_NOT_INITIALIZED)
    NAME(CUDA_ERROR_STUB_LIBRARY)
    NAME(CUDA_ERROR_DEVICE_UNAVAILABLE)
    NAME(CUDA_ERROR_NO_DEVICE)
    NAME(CUDA_ERROR_INVALID_DEVICE)
    NAME(CUDA_ERROR_INVALID_IMAGE)
    NAME(CUDA_ERROR_INVALID_CONTEXT)
    NAME(CUDA_ERROR_NO_BINARY_FOR_GPU)
    NAME(CUDA_ERROR_INVALID_PTX)
    NAME(CUDA_ERROR_UNSUPPORTED_PTX_VERSION)
    NAME(CUDA_ERROR_INVALID_HANDLE)
    NAME(CUDA_ERROR_NOT_FOUND)
    NAME(CUDA_ERROR_NOT_READY)
    NAME(CUDA_ERROR_ILLEGAL_ADDRESS)
    NAME(CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES)
    NAME(CUDA_ERROR_LAUNCH_FAILED)
    NAME(CUDA_ERROR_SYSTEM_DRIVER_MISMATCH)
    NAME(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED)
    NAME(CUDA_ERROR_STREAM_CAPTURE_INVALIDATED)
    NAME(CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE)
    NAME(CUDA_ERROR_UNKNOWN)
#undef NAME
  }
  *text = NULL;
  return CUDA_ERROR_INVALID_VALUE;
}

EXPORT CUresult cuGetErrorString(CUresult error, const char** text) {
  *text = error == CUDA_ERROR_ILLEGAL_ADDRESS ? "an illegal memory access was encountered"
          : error == CUDA_ERROR_OUT_OF_MEMORY ? "out of memory"
                                              : "a fake error";
  return CUDA_SUCCESS;
}

EXPORT CUresult cuDeviceGetCount(int* count) {
  ENTER *count = machine.devices;
  LEAVE
}

EXPORT CUresult cuDeviceGet(CUdevice* device, int ordinal) {
  ENTER {
    if (ordinal < 0 || ordinal >= machine.devices)
      result = CUDA_ERROR_INVALID_DEVICE;
    else
      *device = 100 + ordinal;  // not the ordinal itself, to notice who mixes them up
  }
  LEAVE
}

static CUresult device_check(CUdevice device) {
  if (device < 100 || device >= 100 + machine.devices) return CUDA_ERROR_INVALID_DEVICE;
  return (CUresult)machine.device_error;
}

EXPORT CUresult cuDeviceGetName(char* name, int length, CUdevice device) {
  ENTER {
    result = device_check(device);
    snprintf(name, length, "Fake GPU %d", device - 100);
  }
  LEAVE
}

EXPORT CUresult cuDeviceTotalMem(size_t* bytes, CUdevice device) {
  ENTER {
    result = device_check(device);
    *bytes = machine.memory_limit;
  }
  LEAVE
}

EXPORT CUresult cuDeviceGetAttribute(int* value, CUdevice_attribute attribute, CUdevice device) {
  ENTER {
    result = device_check(device);
    switch (attribute) {
      case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR: *value = machine.compute_major; break;
      case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR: *value = machine.compute_minor; break;
      case CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT: *value = 132; break;
      case CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE: *value = 50 << 20; break;
      case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN: *value = 232448; break;
      case CU_DEVICE_ATTRIBUTE_COMPUTE_MODE: *value = machine.compute_mode; break;
      default: result = CUDA_ERROR_INVALID_VALUE;
    }
  }
  LEAVE
}

EXPORT CUresult cuDevicePrimaryCtxRetain(CUcontext* context, CUdevice device) {
  ENTER {
    result = device_check(device);
    if (!result && machine.compute_mode == CU_COMPUTEMODE_PROHIBITED) result = CUDA_ERROR_DEVICE_UNAVAILABLE;
    if (!result) result = (CUresult)machine.retain_error;
    if (!result) {
      retained++;
      *context = (CUcontext)(uintptr_t)(0x1000 + device);
    }
  }
  LEAVE
}

EXPORT CUresult cuDevicePrimaryCtxRelease(CUdevice device) {
  ENTER {
    result = device_check(device);
    if (retained == 0) result = CUDA_ERROR_INVALID_CONTEXT;
    else if (--retained == 0) sticky = CUDA_SUCCESS;
  }
  LEAVE
}

EXPORT CUresult cuCtxSetCurrent(CUcontext context) {
  ENTER current = context != NULL;
  LEAVE
}

EXPORT CUresult cuMemGetInfo(size_t* free_bytes, size_t* total) {
  ENTER_CURRENT {
    *total = machine.memory_limit;
    *free_bytes = machine.memory_limit - device_bytes;
  }
  LEAVE
}

static CUresult allocate(void** at, size_t bytes, bool host) {
  Allocation* a = malloc(sizeof *a);
  if (bytes == 0 || posix_memalign((void**)&a->memory, 512, bytes)) {
    free(a);
    return bytes == 0 ? CUDA_ERROR_INVALID_VALUE : CUDA_ERROR_OUT_OF_MEMORY;
  }
  memset(a->memory, 0xcd, bytes < 65536 ? bytes : 65536);
  a->bytes = bytes;
  a->host = host;
  a->next = allocations;
  allocations = a;
  *at = a->memory;
  return CUDA_SUCCESS;
}

static CUresult release(const void* at, bool host, size_t* bytes) {
  for (Allocation** a = &allocations; *a; a = &(*a)->next)
    if ((*a)->memory == at && (*a)->host == host) {
      Allocation* found = *a;
      *a = found->next;
      *bytes = found->bytes;
      free(found->memory);
      free(found);
      return CUDA_SUCCESS;
    }
  return CUDA_ERROR_INVALID_VALUE;
}

EXPORT CUresult cuMemAlloc(CUdeviceptr* address, size_t bytes) {
  ENTER_CURRENT {
    result = unsafe();
    if (!result && (long)bytes > machine.memory_limit - device_bytes) result = CUDA_ERROR_OUT_OF_MEMORY;
    if (!result) result = allocate((void**)address, bytes, false);
    if (!result) {
      device_bytes += (long)bytes;
      device_count++;
    }
  }
  LEAVE
}

EXPORT CUresult cuMemFree(CUdeviceptr address) {
  ENTER_CURRENT {
    result = unsafe();
    if (!result && !(the_stream && the_stream->capturing)) result = drain(the_stream, NULL);
    size_t bytes = 0;
    CUresult freed = release((void*)address, false, &bytes);
    if (!freed) {
      device_bytes -= (long)bytes;
      device_count--;
    } else if (!result) {
      result = freed;
    }
  }
  LEAVE
}

EXPORT CUresult cuMemHostAlloc(void** address, size_t bytes, unsigned int flags) {
  ENTER_CURRENT {
    result = unsafe();
    if (flags & ~(unsigned)(CU_MEMHOSTALLOC_PORTABLE | CU_MEMHOSTALLOC_DEVICEMAP)) result = CUDA_ERROR_INVALID_VALUE;
    if (!result) result = allocate(address, bytes, true);
    if (!result) host_count++;
  }
  LEAVE
}

EXPORT CUresult cuMemFreeHost(void* address) {
  ENTER_CURRENT {
    result = unsafe();
    if (!result) result = drain(the_stream, NULL);
    size_t bytes = 0;
    if (!release(address, true, &bytes)) host_count--;
    else result = CUDA_ERROR_INVALID_VALUE;
  }
  LEAVE
}

EXPORT CUresult cuMemHostGetDevicePointer(CUdeviceptr* address, void* memory, unsigned int flags) {
  ENTER_CURRENT {
    if (flags || !inside(memory, 1, true)) result = CUDA_ERROR_INVALID_VALUE;
    else *address = (CUdeviceptr)memory;
  }
  LEAVE
}

EXPORT CUresult cuMemcpyHtoDAsync(CUdeviceptr target, const void* source, size_t bytes, CUstream stream) {
  ENTER_CURRENT {
    Operation operation = {.kind = TO_DEVICE, .target = (char*)target, .source = source, .bytes = bytes};
    result = submit(stream, &operation);
  }
  LEAVE
}

EXPORT CUresult cuMemcpyDtoHAsync(void* target, CUdeviceptr source, size_t bytes, CUstream stream) {
  ENTER_CURRENT {
    Operation operation = {.kind = TO_HOST, .target = target, .source = (char*)source, .bytes = bytes};
    result = submit(stream, &operation);
  }
  LEAVE
}

EXPORT CUresult cuMemcpyDtoDAsync(CUdeviceptr target, CUdeviceptr source, size_t bytes, CUstream stream) {
  ENTER_CURRENT {
    Operation operation = {.kind = WITHIN, .target = (char*)target, .source = (char*)source, .bytes = bytes};
    result = submit(stream, &operation);
  }
  LEAVE
}

EXPORT CUresult cuMemsetD8Async(CUdeviceptr target, unsigned char value, size_t bytes, CUstream stream) {
  ENTER_CURRENT {
    Operation operation = {.kind = FILL, .target = (char*)target, .bytes = bytes, .value = value};
    result = submit(stream, &operation);
  }
  LEAVE
}

EXPORT CUresult cuStreamCreate(CUstream* stream, unsigned int flags) {
  ENTER_CURRENT {
    if (flags != CU_STREAM_NON_BLOCKING) result = CUDA_ERROR_INVALID_VALUE;
    else if (!sticky) {
      *stream = the_stream = calloc(1, sizeof *the_stream);
      streams++;
    } else result = sticky;
  }
  LEAVE
}

EXPORT CUresult cuStreamDestroy(CUstream stream) {
  ENTER_CURRENT {
    discard(&stream->first);
    discard(&stream->captured);
    if (stream == the_stream) the_stream = NULL;
    free(stream);
    streams--;
  }
  LEAVE
}

static CUresult wait(struct CUstream_st* stream, struct CUevent_st* until) {
  if (stream && stream->capturing) {
    stream->capturing = 2;
    return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
  }
  return drain(stream, until);
}

EXPORT CUresult cuStreamSynchronize(CUstream stream) {
  ENTER_CURRENT result = stream == the_stream ? wait(stream, NULL) : CUDA_ERROR_INVALID_HANDLE;
  LEAVE
}

// The first query after new work answers "not ready", the next does the work.
EXPORT CUresult cuStreamQuery(CUstream stream) {
  ENTER_CURRENT {
    if (stream->first) {
      result = wait(stream, NULL);
      if (!result) result = CUDA_ERROR_NOT_READY;
    } else {
      result = sticky;
    }
  }
  LEAVE
}

EXPORT CUresult cuEventCreate(CUevent* event, unsigned int flags) {
  ENTER_CURRENT {
    *event = calloc(1, sizeof **event);
    (*event)->timed = !(flags & CU_EVENT_DISABLE_TIMING);
    (*event)->done = true;
    events++;
  }
  LEAVE
}

EXPORT CUresult cuEventDestroy(CUevent event) {
  ENTER_CURRENT {
    drain(the_stream, event);
    free(event);
    events--;
  }
  LEAVE
}

EXPORT CUresult cuEventRecord(CUevent event, CUstream stream) {
  ENTER_CURRENT {
    Operation operation = {.kind = EVENT, .event = event};
    event->recorded = true;
    event->done = false;
    result = submit(stream, &operation);
  }
  LEAVE
}

EXPORT CUresult cuEventSynchronize(CUevent event) {
  ENTER_CURRENT result = event->done ? sticky : wait(the_stream, event);
  LEAVE
}

EXPORT CUresult cuEventQuery(CUevent event) {
  ENTER_CURRENT {
    if (event->done) {
      result = sticky;
    } else {
      result = wait(the_stream, event);
      if (!result) result = CUDA_ERROR_NOT_READY;
    }
  }
  LEAVE
}

EXPORT CUresult cuEventElapsedTime(float* milliseconds, CUevent start, CUevent end) {
  ENTER_CURRENT {
    if (!start->recorded || !end->recorded || !start->timed || !end->timed) result = CUDA_ERROR_INVALID_HANDLE;
    else if (!start->done || !end->done) result = CUDA_ERROR_NOT_READY;
    else *milliseconds = (float)(end->tick - start->tick) / 1000;
  }
  LEAVE
}

EXPORT CUresult cuStreamBeginCapture(CUstream stream, CUstreamCaptureMode mode) {
  ENTER_CURRENT {
    if (sticky) result = sticky;
    else if (stream->capturing) result = CUDA_ERROR_ILLEGAL_STATE;
    else {
      stream->capturing = 1;
      capture_mode = mode;
    }
  }
  LEAVE
}

EXPORT CUresult cuStreamEndCapture(CUstream stream, CUgraph* graph) {
  ENTER_CURRENT {
    int capturing = stream->capturing;
    stream->capturing = 0;
    capture_mode = CU_STREAM_CAPTURE_MODE_GLOBAL;
    if (capturing != 1) {
      discard(&stream->captured);
      *graph = NULL;
      result = capturing == 2 ? CUDA_ERROR_STREAM_CAPTURE_INVALIDATED : CUDA_ERROR_ILLEGAL_STATE;
    } else {
      *graph = calloc(1, sizeof **graph);
      (*graph)->first = stream->captured;
      stream->captured = NULL;
      graphs++;
    }
  }
  LEAVE
}

EXPORT CUresult cuThreadExchangeStreamCaptureMode(CUstreamCaptureMode* mode) {
  ENTER {
    int before = capture_mode;
    capture_mode = *mode;
    *mode = before;
  }
  LEAVE
}

static size_t length(Operation* list) {
  size_t count = 0;
  for (; list; list = list->next) count++;
  return count;
}

EXPORT CUresult cuGraphGetNodes(CUgraph graph, CUgraphNode* nodes, size_t* count) {
  ENTER {
    if (nodes) result = CUDA_ERROR_INVALID_VALUE;
    else *count = length(graph->first);
  }
  LEAVE
}

static Operation* copies_of(Operation* list) {
  Operation* copies = NULL;
  for (; list; list = list->next) append(&copies, copy_of(list));
  return copies;
}

EXPORT CUresult cuGraphInstantiate(CUgraphExec* executable, CUgraph graph, unsigned long long flags) {
  ENTER_CURRENT {
    if (flags) result = CUDA_ERROR_INVALID_VALUE;
    else {
      *executable = calloc(1, sizeof **executable);
      (*executable)->first = copies_of(graph->first);
      executables++;
    }
  }
  LEAVE
}

EXPORT CUresult cuGraphExecUpdate(CUgraphExec executable, CUgraph graph, CUgraphExecUpdateResultInfo* info) {
  ENTER_CURRENT {
    Operation *a = executable->first, *b = graph->first;
    while (a && b && a->kind == b->kind && a->launch.function == b->launch.function) a = a->next, b = b->next;
    memset(info, 0, sizeof *info);
    if (a || b) {
      info->result = CU_GRAPH_EXEC_UPDATE_ERROR_TOPOLOGY_CHANGED;
      result = CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE;
    } else {
      discard(&executable->first);
      executable->first = copies_of(graph->first);
    }
  }
  LEAVE
}

EXPORT CUresult cuGraphLaunch(CUgraphExec executable, CUstream stream) {
  ENTER_CURRENT {
    for (Operation* o = executable->first; o && !result; o = o->next) result = submit(stream, o);
  }
  LEAVE
}

EXPORT CUresult cuGraphExecDestroy(CUgraphExec executable) {
  ENTER {
    discard(&executable->first);
    free(executable);
    executables--;
  }
  LEAVE
}

EXPORT CUresult cuGraphDestroy(CUgraph graph) {
  ENTER {
    discard(&graph->first);
    free(graph);
    graphs--;
  }
  LEAVE
}

// An image is text: PTX, whose entries are found by name, or a word that says how it fails.
static CUresult load(struct CUlib_st** library, const char* image) {
  CUresult result = unsafe();
  if (result) return result;
  if (strncmp(image, "DAMAGED", 7) == 0) return CUDA_ERROR_INVALID_IMAGE;
  if (strncmp(image, "OTHER GPU", 9) == 0) return CUDA_ERROR_NO_BINARY_FOR_GPU;
  if (strncmp(image, "NEWER PTX", 9) == 0) return CUDA_ERROR_UNSUPPORTED_PTX_VERSION;
  if (!strstr(image, ".version")) return CUDA_ERROR_INVALID_PTX;
  *library = calloc(1, sizeof **library);
  for (const char* at = image; (at = strstr(at, ".entry ")) != NULL; at++)
    sscanf(at + 7, "%31[a-z0-9_]", (*library)->kernels[(*library)->count++]);
  libraries++;
  return CUDA_SUCCESS;
}

static struct CUfunc_st* find(const struct CUlib_st* library, const char* name) {
  for (int i = 0; i < library->count; i++)
    if (strcmp(library->kernels[i], name) == 0)
      for (int k = 0; k < KNOWN; k++)
        if (strcmp(known[k].name, name) == 0) return &known[k];
  return NULL;
}

EXPORT CUresult cuLibraryLoadData(CUlibrary* library, const void* code, CUjit_option* jit, void** jit_values,
                                  unsigned int jit_count, CUlibraryOption* options, void** values,
                                  unsigned int count) {
  ENTER {
    if (jit || jit_values || jit_count || options || values || count) result = CUDA_ERROR_INVALID_VALUE;
    else result = load(library, code);
  }
  LEAVE
}

EXPORT CUresult cuLibraryUnload(CUlibrary library) {
  ENTER {
    free(library);
    libraries--;
  }
  LEAVE
}

EXPORT CUresult cuLibraryGetKernel(CUkernel* kernel, CUlibrary library, const char* name) {
  ENTER {
    *kernel = (CUkernel)find(library, name);
    if (!*kernel) result = CUDA_ERROR_NOT_FOUND;
  }
  LEAVE
}

EXPORT CUresult cuKernelGetFunction(CUfunction* function, CUkernel kernel) {
  ENTER_CURRENT *function = (CUfunction)kernel;
  LEAVE
}

EXPORT CUresult cuFuncLoad(CUfunction function) {
  ENTER_CURRENT {
    result = unsafe();
    if (!result && !function) result = CUDA_ERROR_INVALID_HANDLE;
  }
  LEAVE
}

EXPORT CUresult cuModuleLoadData(CUmodule* module, const void* image) {
  ENTER_CURRENT result = load((struct CUlib_st**)module, image);
  LEAVE
}

EXPORT CUresult cuModuleUnload(CUmodule module) {
  ENTER_CURRENT {
    free(module);
    libraries--;
  }
  LEAVE
}

EXPORT CUresult cuModuleGetFunction(CUfunction* function, CUmodule module, const char* name) {
  ENTER_CURRENT {
    *function = find((struct CUlib_st*)module, name);
    if (!*function) result = CUDA_ERROR_NOT_FOUND;
  }
  LEAVE
}

EXPORT CUresult cuFuncGetAttribute(int* value, CUfunction_attribute attribute, CUfunction function) {
  ENTER_CURRENT {
    (void)function;
    switch (attribute) {
      case CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES: *value = 1024; break;
      case CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES: *value = 0; break;
      case CU_FUNC_ATTRIBUTE_NUM_REGS: *value = 32; break;
      case CU_FUNC_ATTRIBUTE_PTX_VERSION: *value = 80; break;
      case CU_FUNC_ATTRIBUTE_BINARY_VERSION: *value = 90; break;
      default: result = CUDA_ERROR_INVALID_VALUE;
    }
  }
  LEAVE
}

EXPORT CUresult cuFuncSetAttribute(CUfunction function, CUfunction_attribute attribute, int value) {
  ENTER_CURRENT {
    result = unsafe();
    if (!result && attribute == CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES) {
      if (value > 232448 - 1024) result = CUDA_ERROR_INVALID_VALUE;
      else function->shared_limit = value;
    } else if (!result && attribute == CU_FUNC_ATTRIBUTE_NON_PORTABLE_CLUSTER_SIZE_ALLOWED) {
      function->non_portable = value;
    } else if (!result) {
      result = CUDA_ERROR_INVALID_VALUE;
    }
  }
  LEAVE
}

EXPORT CUresult cuFuncGetParamInfo(CUfunction function, size_t index, size_t* offset, size_t* size) {
  ENTER {
    if (index >= strlen(function->parameters)) {
      result = CUDA_ERROR_INVALID_VALUE;
    } else {
      *offset = offset_of(function->parameters, (int)index);
      *size = size_of(function->parameters[index]);
    }
  }
  LEAVE
}

EXPORT CUresult cuOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, CUfunction function, int threads,
                                                            size_t shared) {
  ENTER_CURRENT {
    if ((long)shared > function->shared_limit) result = CUDA_ERROR_INVALID_VALUE;
    else *blocks = shared ? (int)(233472 / (shared + 1024)) : 2048 / threads;
  }
  LEAVE
}

EXPORT CUresult cuOccupancyMaxActiveClusters(int* clusters, CUfunction function, const CUlaunchConfig* config) {
  ENTER_CURRENT {
    (void)function;
    if (config->numAttrs != 1 || config->attrs[0].id != CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION)
      result = CUDA_ERROR_INVALID_VALUE;
    else *clusters = 132 / (int)config->attrs[0].value.clusterDim.x;
  }
  LEAVE
}

static CUresult launch(const CUlaunchConfig* config, CUfunction function, void** parameters) {
  if (sticky) return sticky;
  if (config->blockDimX * config->blockDimY * config->blockDimZ > 1024 || config->gridDimX == 0 ||
      config->gridDimY == 0 || config->gridDimZ == 0 || config->gridDimY > 65535 || config->gridDimZ > 65535 ||
      (int)config->sharedMemBytes > function->shared_limit || config->numAttrs > MOST_ATTRIBUTES)
    return CUDA_ERROR_INVALID_VALUE;
  Operation operation = {.kind = KERNEL};
  Launch* l = &operation.launch;
  l->function = function;
  unsigned grid[] = {config->gridDimX, config->gridDimY, config->gridDimZ};
  unsigned block[] = {config->blockDimX, config->blockDimY, config->blockDimZ};
  memcpy(l->grid, grid, sizeof grid);
  memcpy(l->block, block, sizeof block);
  l->shared = config->sharedMemBytes;
  l->attributes = (int)config->numAttrs;
  for (int i = 0; i < l->attributes; i++) {
    l->attribute[i] = config->attrs[i];
    const CUlaunchAttributeValue* value = &config->attrs[i].value;
    if (config->attrs[i].id == CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION) {
      unsigned blocks = value->clusterDim.x * value->clusterDim.y * value->clusterDim.z;
      if (blocks > (function->non_portable ? 16 : 8) || config->gridDimX % value->clusterDim.x)
        return CUDA_ERROR_INVALID_CLUSTER_SIZE;
    }
  }
  // As the real driver: parameters are copied during the call.
  for (int i = 0; function->parameters[i]; i++)
    memcpy(l->values + offset_of(function->parameters, i), parameters[i], size_of(function->parameters[i]));
  return submit(config->hStream, &operation);
}

EXPORT CUresult cuLaunchKernelEx(const CUlaunchConfig* config, CUfunction function, void** parameters, void** extra) {
  ENTER_CURRENT result = extra ? CUDA_ERROR_INVALID_VALUE : launch(config, function, parameters);
  LEAVE
}

EXPORT CUresult cuLaunchKernel(CUfunction function, unsigned int gx, unsigned int gy, unsigned int gz, unsigned int bx,
                               unsigned int by, unsigned int bz, unsigned int shared, CUstream stream,
                               void** parameters, void** extra) {
  ENTER_CURRENT {
    CUlaunchConfig config = {gx, gy, gz, bx, by, bz, shared, stream, NULL, 0};
    result = extra ? CUDA_ERROR_INVALID_VALUE : launch(&config, function, parameters);
  }
  LEAVE
}

// The opaque words hold what was asked for, in order.
EXPORT CUresult cuTensorMapEncodeTiled(CUtensorMap* map, CUtensorMapDataType type, cuuint32_t rank, void* address,
                                       const cuuint64_t* sizes, const cuuint64_t* strides, const cuuint32_t* box,
                                       const cuuint32_t* element_strides, CUtensorMapInterleave interleave,
                                       CUtensorMapSwizzle swizzle, CUtensorMapL2promotion promotion,
                                       CUtensorMapFloatOOBfill fill) {
  ENTER {
    if ((uintptr_t)map % 64 || (uintptr_t)address % 16 || interleave || fill || rank < 1 || rank > 5)
      result = CUDA_ERROR_INVALID_VALUE;
    for (cuuint32_t i = 0; i < rank && !result; i++)
      if (element_strides[i] != 1 || box[i] == 0 || box[i] > 256 || (i > 0 && strides[i - 1] % 16))
        result = CUDA_ERROR_INVALID_VALUE;
    if (!result) {
      cuuint64_t words[CU_TENSOR_MAP_NUM_QWORDS] = {type, rank, (uintptr_t)address, swizzle, promotion};
      for (cuuint32_t i = 0; i < rank && i < 3; i++) {
        words[5 + i] = sizes[i];
        words[8 + i] = i ? strides[i - 1] : 0;
        words[11 + i] = box[i];
      }
      memcpy(map->opaque, words, sizeof words);
    }
  }
  LEAVE
}

// The name that programs built with CUDA 12 know cuEventElapsedTime by; JCuda is one.
#ifdef cuEventElapsedTime
#undef cuEventElapsedTime
EXPORT CUresult cuEventElapsedTime(float* milliseconds, CUevent start, CUevent end);
EXPORT CUresult cuEventElapsedTime(float* milliseconds, CUevent start, CUevent end) {
  return cuEventElapsedTime_v2(milliseconds, start, end);
}
#endif

// Plain names give the version of the function that cuda.h gives them, by its own macros.
EXPORT CUresult cuGetProcAddress(const char* symbol, void** entry, int version, cuuint64_t flags,
                                 CUdriverProcAddressQueryResult* status) {
  static const struct {
    const char* name;
    void* entry;
  } entries[] = {
      {"cuInit", (void*)cuInit},
      {"cuGetErrorName", (void*)cuGetErrorName},
      {"cuGetErrorString", (void*)cuGetErrorString},
      {"cuDriverGetVersion", (void*)cuDriverGetVersion},
      {"cuDeviceGetCount", (void*)cuDeviceGetCount},
      {"cuDeviceGet", (void*)cuDeviceGet},
      {"cuDeviceGetName", (void*)cuDeviceGetName},
      {"cuDeviceTotalMem", (void*)cuDeviceTotalMem},
      {"cuDeviceGetAttribute", (void*)cuDeviceGetAttribute},
      {"cuDevicePrimaryCtxRetain", (void*)cuDevicePrimaryCtxRetain},
      {"cuDevicePrimaryCtxRelease", (void*)cuDevicePrimaryCtxRelease},
      {"cuCtxSetCurrent", (void*)cuCtxSetCurrent},
      {"cuMemGetInfo", (void*)cuMemGetInfo},
      {"cuMemAlloc", (void*)cuMemAlloc},
      {"cuMemFree", (void*)cuMemFree},
      {"cuMemHostAlloc", (void*)cuMemHostAlloc},
      {"cuMemFreeHost", (void*)cuMemFreeHost},
      {"cuMemHostGetDevicePointer", (void*)cuMemHostGetDevicePointer},
      {"cuMemcpyHtoDAsync", (void*)cuMemcpyHtoDAsync},
      {"cuMemcpyDtoHAsync", (void*)cuMemcpyDtoHAsync},
      {"cuMemcpyDtoDAsync", (void*)cuMemcpyDtoDAsync},
      {"cuMemsetD8Async", (void*)cuMemsetD8Async},
      {"cuStreamCreate", (void*)cuStreamCreate},
      {"cuStreamDestroy", (void*)cuStreamDestroy},
      {"cuStreamSynchronize", (void*)cuStreamSynchronize},
      {"cuStreamQuery", (void*)cuStreamQuery},
      {"cuEventCreate", (void*)cuEventCreate},
      {"cuEventDestroy", (void*)cuEventDestroy},
      {"cuEventRecord", (void*)cuEventRecord},
      {"cuEventSynchronize", (void*)cuEventSynchronize},
      {"cuEventQuery", (void*)cuEventQuery},
      {"cuEventElapsedTime", (void*)cuEventElapsedTime},
      {"cuStreamBeginCapture", (void*)cuStreamBeginCapture},
      {"cuStreamEndCapture", (void*)cuStreamEndCapture},
      {"cuThreadExchangeStreamCaptureMode", (void*)cuThreadExchangeStreamCaptureMode},
      {"cuGraphGetNodes", (void*)cuGraphGetNodes},
      {"cuGraphInstantiate", (void*)cuGraphInstantiate},
      {"cuGraphExecUpdate", (void*)cuGraphExecUpdate},
      {"cuGraphLaunch", (void*)cuGraphLaunch},
      {"cuGraphExecDestroy", (void*)cuGraphExecDestroy},
      {"cuGraphDestroy", (void*)cuGraphDestroy},
      {"cuLibraryLoadData", (void*)cuLibraryLoadData},
      {"cuLibraryUnload", (void*)cuLibraryUnload},
      {"cuLibraryGetKernel", (void*)cuLibraryGetKernel},
      {"cuKernelGetFunction", (void*)cuKernelGetFunction},
      {"cuFuncLoad", (void*)cuFuncLoad},
      {"cuFuncGetAttribute", (void*)cuFuncGetAttribute},
      {"cuFuncSetAttribute", (void*)cuFuncSetAttribute},
      {"cuFuncGetParamInfo", (void*)cuFuncGetParamInfo},
      {"cuOccupancyMaxActiveBlocksPerMultiprocessor", (void*)cuOccupancyMaxActiveBlocksPerMultiprocessor},
      {"cuOccupancyMaxActiveClusters", (void*)cuOccupancyMaxActiveClusters},
      {"cuLaunchKernelEx", (void*)cuLaunchKernelEx},
      {"cuTensorMapEncodeTiled", (void*)cuTensorMapEncodeTiled}};
  *status = CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND;
  *entry = NULL;
  if (version < 12040 || flags) return CUDA_ERROR_INVALID_VALUE;
  for (size_t i = 0; i < sizeof entries / sizeof *entries; i++)
    if (strcmp(entries[i].name, symbol) == 0) {
      *entry = entries[i].entry;
      *status = CU_GET_PROC_ADDRESS_SUCCESS;
      return CUDA_SUCCESS;
    }
  return CUDA_ERROR_NOT_FOUND;
}

// ---- for tests ---------------------------------------------------------------------------------

// A machine with one GPU and 1 GiB, and no failures.
EXPORT void fake_reset(void) {
  pthread_mutex_lock(&lock);
  machine.driver_version = 13000;
  machine.devices = 1;
  machine.compute_major = 9;
  machine.compute_minor = 0;
  machine.compute_mode = machine.init_error = machine.retain_error = machine.device_error = 0;
  machine.memory_limit = 1L << 30;
  function_count = 0;
  unplug_after = -1;
  sticky = CUDA_SUCCESS;
  launch_count = 0;
  is_initialised = false;
  for (int i = 0; i < KNOWN; i++) known[i].shared_limit = 49152, known[i].non_portable = 0;
  pthread_mutex_unlock(&lock);
}

__attribute__((constructor)) static void start(void) { fake_reset(); }

EXPORT void fake_set(const char* what, long value) {
  if (strcmp(what, "driver version") == 0) machine.driver_version = (int)value;
  else if (strcmp(what, "devices") == 0) machine.devices = (int)value;
  else if (strcmp(what, "compute major") == 0) machine.compute_major = (int)value;
  else if (strcmp(what, "compute minor") == 0) machine.compute_minor = (int)value;
  else if (strcmp(what, "compute mode") == 0) machine.compute_mode = (int)value;
  else if (strcmp(what, "init error") == 0) machine.init_error = (int)value;
  else if (strcmp(what, "retain error") == 0) machine.retain_error = (int)value;
  else if (strcmp(what, "device error") == 0) machine.device_error = (int)value;
  else if (strcmp(what, "memory") == 0) machine.memory_limit = value;
  else if (strcmp(what, "unplug after") == 0) unplug_after = value;
  else abort();
}

// Lets a function fail once, after so many more calls.
EXPORT void fake_fail(const char* function, int code, long after) {
  Function* f = function_of(function);
  f->fail_code = code;
  f->fail_after = after;
}

EXPORT long fake_calls(const char* function) { return function_of(function)->calls; }

EXPORT long fake_get(const char* what) {
  if (strcmp(what, "device bytes") == 0) return device_bytes;
  if (strcmp(what, "device allocations") == 0) return device_count;
  if (strcmp(what, "host allocations") == 0) return host_count;
  if (strcmp(what, "contexts") == 0) return retained;
  if (strcmp(what, "streams") == 0) return streams;
  if (strcmp(what, "events") == 0) return events;
  if (strcmp(what, "graphs") == 0) return graphs;
  if (strcmp(what, "executables") == 0) return executables;
  if (strcmp(what, "libraries") == 0) return libraries;
  if (strcmp(what, "launches") == 0) return launch_count;
  if (strcmp(what, "queued") == 0) return the_stream ? (long)length(the_stream->first) : 0;
  abort();
}

// A number of a launch that has run: "grid x", "block x", "shared", "cluster x", "programmatic".
EXPORT long fake_launch(long index, const char* what) {
  const Launch* l = &launches[index];
  if (strcmp(what, "grid x") == 0) return l->grid[0];
  if (strcmp(what, "grid y") == 0) return l->grid[1];
  if (strcmp(what, "grid z") == 0) return l->grid[2];
  if (strcmp(what, "block x") == 0) return l->block[0];
  if (strcmp(what, "block y") == 0) return l->block[1];
  if (strcmp(what, "block z") == 0) return l->block[2];
  if (strcmp(what, "shared") == 0) return l->shared;
  for (int i = 0; i < l->attributes; i++) {
    const CUlaunchAttribute* a = &l->attribute[i];
    if (a->id == CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION) {
      if (strcmp(what, "cluster x") == 0) return a->value.clusterDim.x;
      if (strcmp(what, "cluster y") == 0) return a->value.clusterDim.y;
      if (strcmp(what, "cluster z") == 0) return a->value.clusterDim.z;
    } else if (a->id == CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION) {
      if (strcmp(what, "programmatic") == 0) return a->value.programmaticStreamSerializationAllowed;
    }
  }
  return 0;
}
