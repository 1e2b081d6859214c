package org.reactorvfio.linux;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.io.IOException;
import java.lang.reflect.Field;
import java.lang.reflect.Modifier;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.TimeUnit;
import java.util.function.Predicate;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/**
 * Compares every number, size and offset with what the C compiler makes of the kernel's headers. The headers are those of
 * REACTOR_VFIO_UAPI, of the lab's kernel, or the system's, whichever are there first.
 */
class UapiTest {
  /** Fields whose constants have other names, since SIZE is the structure's own. */
  private static final Map<String, String> FIELDS = Map.of(
      "REGION_INFO__REGION_SIZE", "size",
      "IOMMU_TYPE1_DMA_MAP__LENGTH", "size",
      "IOMMU_TYPE1_DMA_UNMAP__LENGTH", "size",
      "IOMMU_TYPE1_DIRTY_BITMAP_GET__LENGTH", "size",
      "BITMAP__LENGTH", "size",
      "DEVICE_GFX_PLANE_INFO__PLANE_SIZE", "size");

  /** The last field of the first form of a structure that newer kernels have made longer. */
  private static final Map<String, String> LAST_FIELDS = Map.of(
      "DEVICE_BIND_IOMMUFD",
      "out_devid",
      "DEVICE_ATTACH_IOMMUFD_PT",
      "pt_id",
      "DEVICE_DETACH_IOMMUFD_PT",
      "flags",
      "DEVICE_IOEVENTFD",
      "fd",
      "DEVICE_GFX_PLANE_INFO",
      "region_index");

  @TempDir
  private Path directory;

  @Test
  void vfioIsAsTheCompilerSeesIt() throws Exception {
    Path header = header("vfio.h");
    // The system's own may be older than the cdev interface, or than its VF tokens.
    String text = Files.readString(header);
    boolean cdev = text.contains("VFIO_DEVICE_BIND_IOMMUFD");
    boolean dmaBuf = text.contains("VFIO_DEVICE_FEATURE_DMA_BUF");
    boolean token = text.contains("VFIO_DEVICE_BIND_FLAG_TOKEN");
    boolean pasid = text.contains("VFIO_DEVICE_ATTACH_PASID");
    boolean precopy = text.contains("VFIO_MIG_GET_PRECOPY_INFO");
    boolean precopyV2 = text.contains("VFIO_PRECOPY_INFO_REINIT");
    compare(
        header,
        VfioUapi.class,
        "vfio_",
        name -> (cdev || !(name.contains("IOMMUFD") || name.contains("DEV_ID")))
            && (cdev || !name.contains("DEVID"))
            && (pasid || !(name.contains("PASID") || name.endsWith("TACH_IOMMUFD_PT__SIZE")))
            && (precopy || !(name.contains("PRE_COPY") || name.contains("PRECOPY_INFO")))
            && (precopy || !name.contains("MIG_DATA_SIZE"))
            && (precopyV2 || !(name.contains("REINIT") || name.contains("INFOv2")))
            && (dmaBuf || !(name.contains("DMA_BUF") || name.contains("DMA_RANGE")))
            && (token || !(name.contains("TOKEN") || name.equals("DEVICE_BIND_IOMMUFD__SIZE"))));
  }

  @Test
  void iommufdIsAsTheCompilerSeesIt() throws Exception {
    Path header = header("iommufd.h");
    // Most of it came with later kernels, some as fields of structures that were there.
    String text = Files.readString(header);
    compare(header, IommufdUapi.class, "iommu_", name -> isIn(text, name));
  }

  private static boolean isIn(String text, String name) {
    int split = name.indexOf("__");
    if (split < 0) {
      return text.contains(name);
    }
    String field = name.substring(split + 2);
    return text.contains("struct iommu_" + name.substring(0, split).toLowerCase(Locale.ROOT) + " {")
        && (field.equals("SIZE") || text.contains(field.toLowerCase(Locale.ROOT)));
  }

  @Test
  void linuxIsAsTheCompilerSeesIt() throws Exception {
    Map<String, Long> expected = new TreeMap<>();
    Map<String, String> expressions = new TreeMap<>();
    for (Class<?> holder : List.of(Errno.class, Syscalls.class)) {
      constants(holder).forEach((name, value) -> {
        expected.put(name, value);
        expressions.put(name, name.equals("PROT_READ_WRITE") ? "PROT_READ | PROT_WRITE" : name);
      });
    }
    expected.put("sizeof epoll_event", (long) PollSet.EVENT_SIZE);
    expressions.put("sizeof epoll_event", "sizeof(struct epoll_event)");
    expected.put("epoll_event.data", (long) PollSet.DATA_OFFSET);
    expressions.put("epoll_event.data", "offsetof(struct epoll_event, data)");
    expected.put("EFD flags", 0x80000L | 0x800L);
    expressions.put("EFD flags", "EFD_CLOEXEC | EFD_NONBLOCK");
    expected.put("EPOLL_CLOEXEC", 0x80000L);
    expressions.put("EPOLL_CLOEXEC", "EPOLL_CLOEXEC");
    Numbers numbers = (name, value, expression) -> {
      expected.put(name, (long) value);
      expressions.put(name, expression);
    };
    ring(numbers);
    if (DirectCalls.AVAILABLE) {
      calls(numbers);
    }
    String includes = Stream.of(
            "errno.h",
            "fcntl.h",
            "linux/io_uring.h",
            "poll.h",
            "stddef.h",
            "stdio.h",
            "sys/epoll.h",
            "sys/eventfd.h",
            "sys/mman.h",
            "sys/resource.h",
            "sys/syscall.h",
            "sys/uio.h")
        .map("#include <%s>%n"::formatted)
        .reduce("#define _GNU_SOURCE\n", String::concat);
    assertThat(run(includes, expressions, List.of())).isEqualTo(expected);
  }

  private interface Numbers {
    void put(String name, int value, String expression);
  }

  /** The numbers of this machine's system calls. */
  private static void calls(Numbers numbers) {
    numbers.put("SYS_read", DirectCalls.SYS_READ, "SYS_read");
    numbers.put("SYS_write", DirectCalls.SYS_WRITE, "SYS_write");
    numbers.put("SYS_ioctl", DirectCalls.SYS_IOCTL, "SYS_ioctl");
    numbers.put("SYS_pread64", DirectCalls.SYS_PREAD64, "SYS_pread64");
    numbers.put("SYS_pwrite64", DirectCalls.SYS_PWRITE64, "SYS_pwrite64");
    numbers.put("SYS_epoll_wait", DirectCalls.SYS_EPOLL_WAIT, "SYS_epoll_wait");
  }

  /** What {@link ReadBatch} knows of io_uring. */
  private static void ring(Numbers numbers) {
    numbers.put("io_uring_setup", ReadBatch.SYS_IO_URING_SETUP, "SYS_io_uring_setup");
    numbers.put("io_uring_enter", ReadBatch.SYS_IO_URING_ENTER, "SYS_io_uring_enter");
    numbers.put("sizeof params", ReadBatch.PARAMS_SIZE, "sizeof(struct io_uring_params)");
    numbers.put("sq_entries", ReadBatch.PARAMS_SQ_ENTRIES, inParams("sq_entries"));
    numbers.put("cq_entries", ReadBatch.PARAMS_CQ_ENTRIES, inParams("cq_entries"));
    numbers.put("features", ReadBatch.PARAMS_FEATURES, inParams("features"));
    numbers.put("sq_off.head", ReadBatch.PARAMS_SQ_HEAD, inParams("sq_off.head"));
    numbers.put("sq_off.tail", ReadBatch.PARAMS_SQ_TAIL, inParams("sq_off.tail"));
    numbers.put("sq_off.array", ReadBatch.PARAMS_SQ_ARRAY, inParams("sq_off.array"));
    numbers.put("cq_off.head", ReadBatch.PARAMS_CQ_HEAD, inParams("cq_off.head"));
    numbers.put("cq_off.tail", ReadBatch.PARAMS_CQ_TAIL, inParams("cq_off.tail"));
    numbers.put("cq_off.cqes", ReadBatch.PARAMS_CQES, inParams("cq_off.cqes"));
    numbers.put("feature", ReadBatch.FEATURE_OF_5_11, "IORING_FEAT_EXT_ARG");
    numbers.put("sizeof sqe", ReadBatch.SQE_SIZE, "sizeof(struct io_uring_sqe)");
    numbers.put("sqe.fd", ReadBatch.SQE_FD, "offsetof(struct io_uring_sqe, fd)");
    numbers.put("sqe.addr", ReadBatch.SQE_ADDRESS, "offsetof(struct io_uring_sqe, addr)");
    numbers.put("sqe.len", ReadBatch.SQE_LENGTH, "offsetof(struct io_uring_sqe, len)");
    numbers.put("sqe.rw_flags", ReadBatch.SQE_RW_FLAGS, "offsetof(struct io_uring_sqe, rw_flags)");
    numbers.put(
        "sqe.user_data", ReadBatch.SQE_USER_DATA, "offsetof(struct io_uring_sqe, user_data)");
    numbers.put("sizeof cqe", ReadBatch.CQE_SIZE, "sizeof(struct io_uring_cqe)");
    numbers.put("cqe.res", ReadBatch.CQE_RESULT, "offsetof(struct io_uring_cqe, res)");
    numbers.put("offset of sqes", ReadBatch.OFFSET_SQES, "IORING_OFF_SQES");
    numbers.put("read", ReadBatch.OP_READ, "IORING_OP_READ");
    numbers.put("get events", ReadBatch.ENTER_GETEVENTS, "IORING_ENTER_GETEVENTS");
    numbers.put("no wait", ReadBatch.RWF_NOWAIT, "RWF_NOWAIT");
  }

  private static String inParams(String field) {
    return "offsetof(struct io_uring_params, " + field + ")";
  }

  private void compare(Path header, Class<?> holder, String prefix, Predicate<String> checked)
      throws Exception {
    Map<String, Long> expected = constants(holder);
    expected.keySet().removeIf(name -> !checked.test(name));
    assertThat(expected).isNotEmpty();
    Map<String, String> expressions = new TreeMap<>();
    expected.keySet().forEach(name -> expressions.put(name, expression(name, prefix)));
    String includes =
        "#include <stddef.h>\n#include <stdio.h>\n#include <linux/" + header.getFileName() + ">\n";
    Path root = header.getParent().getParent();
    assertThat(run(includes, expressions, List.of("-D__user=", "-D__counted_by(x)=", "-I" + root)))
        .isEqualTo(expected);
  }

  /** What a constant's name says in C. */
  private static String expression(String name, String prefix) {
    int split = name.indexOf("__");
    if (split < 0) {
      return name;
    }
    String upper = name.substring(0, split);
    String struct = "struct " + prefix + upper.toLowerCase(Locale.ROOT);
    String field = name.substring(split + 2);
    return switch (field) {
      case "SIZE" -> "sizeof(" + struct + ")";
      case "FIRST_SIZE" ->
        "offsetof(%1$s, %2$s) + sizeof(((%1$s *) 0)->%2$s)"
            .formatted(struct, LAST_FIELDS.get(upper));
      default ->
        "offsetof(" + struct + ", " + FIELDS.getOrDefault(name, field.toLowerCase(Locale.ROOT))
            + ")";
    };
  }

  private static Map<String, Long> constants(Class<?> holder) throws IllegalAccessException {
    Map<String, Long> constants = new TreeMap<>();
    for (Field field : holder.getDeclaredFields()) {
      if (Modifier.isPublic(field.getModifiers()) && Modifier.isStatic(field.getModifiers())) {
        constants.put(field.getName(), field.getLong(null));
      }
    }
    return constants;
  }

  private Map<String, Long> run(
      String includes, Map<String, String> expressions, List<String> flags)
      throws IOException, InterruptedException {
    StringBuilder source = new StringBuilder(includes).append("int main(void) {\n");
    expressions.forEach((name, c) -> source.append(
        "  printf(\"%%s\\t%%lld\\n\", \"%s\", (long long) (%s));\n".formatted(name, c)));
    source.append("  return 0;\n}\n");
    Path program = directory.resolve("uapi");
    Files.writeString(directory.resolve("uapi.c"), source);
    List<String> command = new ArrayList<>(List.of("gcc", "-o", program.toString()));
    command.addAll(flags);
    command.add(directory.resolve("uapi.c").toString());
    assumeTrue(gccIsThere(), "NOT CHECKED: there is no gcc to compare the kernel's headers with");
    assertThat(output(command)).as("what gcc says").isEmpty();
    Map<String, Long> values = new TreeMap<>();
    output(List.of(program.toString())).lines().forEach(line -> {
      String[] parts = line.split("\t", -1);
      values.put(parts[0], Long.valueOf(parts[1]));
    });
    return values;
  }

  private static boolean gccIsThere() {
    return Stream.of(System.getenv("PATH").split(":", -1))
        .anyMatch(entry -> Files.isExecutable(Path.of(entry, "gcc")));
  }

  private static String output(List<String> command) throws IOException, InterruptedException {
    Process process = new ProcessBuilder(command).redirectErrorStream(true).start();
    String text = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
    assertThat(process.waitFor(30, TimeUnit.SECONDS)).isTrue();
    return text;
  }

  private static Path header(String name) throws IOException {
    List<Path> roots = new ArrayList<>();
    String chosen = System.getenv("REACTOR_VFIO_UAPI");
    if (chosen != null) {
      roots.add(Path.of(chosen));
    }
    Path cache = cache();
    if (Files.isDirectory(cache)) {
      try (Stream<Path> parts = Files.list(cache)) {
        parts
            .filter(part -> part.getFileName().toString().startsWith("iommufd-"))
            .map(part -> part.resolve("uapi"))
            .forEach(roots::add);
      }
    }
    roots.add(Path.of("/usr/include"));
    Path found = roots.stream()
        .map(root -> root.resolve("linux").resolve(name))
        .filter(Files::isRegularFile)
        .findFirst()
        .orElse(null);
    assumeTrue(
        found != null, "NOT CHECKED: there is no linux/" + name + "; src/lab/fetch gets one");
    return found;
  }

  /** Where src/lab/settings keeps the lab's cache. */
  private static Path cache() {
    String named = System.getenv("REACTOR_VFIO_LAB_CACHE");
    String xdg = System.getenv("XDG_CACHE_HOME");
    return named != null
        ? Path.of(named)
        : Path.of(
            xdg != null ? xdg : System.getProperty("user.home") + "/.cache", "reactor-vfio-lab");
  }
}
