package org.reactorvfio.lab;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Set;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import org.reactorvfio.DescriptorLimitException;
import org.reactorvfio.MemoryLockLimitException;
import org.reactorvfio.Vfio;
import org.reactorvfio.VfioDevice;
import org.reactorvfio.VfioException;
import org.reactorvfio.VfioOptions.Backend;
import org.reactorvfio.dma.DmaBuffer;
import org.reactorvfio.linux.Syscalls;

/** What a process runs out of, one step after the other: each refusal is typed, leaves nothing behind, and passes. */
@Tag("lab")
@Timeout(170)
class FaultLabTest {
  private static final String NVME = "VFIO_LAB_NVME";
  private static final int ENOMEM = 12;
  private static final int PAGE = 4096;

  private @Nullable VfioDevice device;

  @AfterEach
  void close() {
    if (device != null) {
      LabDevice.run(device.close());
    }
  }

  // ---- descriptors

  @ParameterizedTest
  @MethodSource("org.reactorvfio.lab.LabDevice#backends")
  void everyDescriptorThatIsMissingIsToldOf(Backend backend) throws Exception {
    String outcome =
        Unprivileged.process().descriptors(300).run(Descriptors.class, NVME, backend.name());
    Unprivileged.process();
    assertThat(outcome).startsWith("works at last").contains("eventfd", "epoll_create1", "memfd");
    // Looking for the cdev is the first that is refused; /dev/iommu is opened behind it.
    assertThat(outcome).contains(backend == Backend.GROUP ? "GET_DEVICE_FD" : "/vfio-dev");
  }

  /** Opens and uses a device with ever more descriptors left, until that works. */
  static final class Descriptors {
    private static final int MOST = 60;

    /** Enough for everything. */
    private static final int PLENTY = 40;

    private final Deque<Integer> fillers = new ArrayDeque<>();
    private final String variable;
    private final Backend backend;

    private Descriptors(String variable, Backend backend) {
      this.variable = variable;
      this.backend = backend;
    }

    public static void main(String[] args) throws IOException {
      loadClasses();
      Descriptors descriptors = new Descriptors(args[0], Backend.valueOf(args[1]));
      String outcome;
      try {
        outcome = descriptors.tryAll();
      } finally {
        descriptors.spare(descriptors.fillers.size());
      }
      System.out.println(outcome);
    }

    /** A class that is needed first when no file can be opened is not found. */
    private static void loadClasses() throws IOException {
      Path classes =
          Path.of(Vfio.class.getProtectionDomain().getCodeSource().getLocation().getPath());
      try (Stream<Path> files = Files.walk(classes)) {
        files
            .map(file -> classes.relativize(file).toString())
            .filter(file -> file.endsWith(".class") && file.startsWith("org/reactorvfio/"))
            .filter(file -> !file.contains("/vendor/") && !file.contains("/emulation/"))
            .forEach(Descriptors::load);
      }
    }

    private static void load(String file) {
      String name = file.replace('/', '.').substring(0, file.length() - 6);
      try {
        Class.forName(name, false, Vfio.class.getClassLoader());
      } catch (ClassNotFoundException e) {
        throw new IllegalStateException(e);
      }
    }

    private String tryAll() {
      VfioException refusal = use();
      if (refusal != null) {
        return "without a limit: " + refusal;
      }
      Set<String> refused = new LinkedHashSet<>();
      for (int left = 0; left < MOST; left++) {
        fill();
        spare(left);
        refusal = use();
        LabDevice.awaitLoopEnd();
        int after = fill();
        if (after != left && after != left + PLENTY) {
          return "with " + left + " left, " + after + " are left behind it: " + refusal;
        }
        if (refusal == null) {
          return "works at last with " + left + ", refused before: " + refused;
        }
        if (!(refusal instanceof DescriptorLimitException)
            || !refusal.remedy().contains("ulimit")) {
          return "with " + left + " left: " + refusal;
        }
        refused.add(refusal.operation());
      }
      return "never works: " + refused;
    }

    /** Returns why not, null if it works. A device that is open works as soon as there are descriptors again. */
    private @Nullable VfioException use() {
      VfioException refusal = null;
      VfioDevice device;
      try {
        device = LabDevice.open(variable, backend);
      } catch (VfioException e) {
        return e;
      }
      try {
        LabDevice.everything(device);
      } catch (VfioException e) {
        refusal = e;
        spare(PLENTY);
        LabDevice.everything(device);
      } finally {
        LabDevice.run(device.close());
      }
      return refusal;
    }

    private int fill() {
      int n = 0;
      for (int fd = Syscalls.open("/dev/null", Syscalls.O_RDONLY);
          fd >= 0;
          fd = Syscalls.open("/dev/null", Syscalls.O_RDONLY)) {
        fillers.push(fd);
        n++;
      }
      return n;
    }

    private void spare(int count) {
      for (int i = 0; i < count; i++) {
        Syscalls.close(fillers.pop());
      }
    }
  }

  // ---- locked memory

  @ParameterizedTest
  @MethodSource("org.reactorvfio.lab.LabDevice#backends")
  void asManyPagesAsMayBeLockedAndNotOneMore(Backend backend) throws Exception {
    for (int pages : new int[] {0, 1, 2, 5}) {
      String outcome = Unprivileged.process()
          .memoryLock((long) pages * PAGE)
          .run(Pages.class, NVME, backend.name());
      assertThat(outcome).as("%s pages", pages).isEqualTo(pages + ", and " + pages + " again");
    }
    Unprivileged.process();
  }

  /** Opens a device twice, and maps page after page until one is refused. */
  static final class Pages {
    private Pages() {}

    public static void main(String[] args) {
      Backend backend = Backend.valueOf(args[1]);
      System.out.println(map(args[0], backend) + ", and " + map(args[0], backend) + " again");
    }

    private static String map(String variable, Backend backend) {
      VfioDevice device = LabDevice.open(variable, backend);
      List<DmaBuffer> buffers = new ArrayList<>();
      try {
        MemoryLockLimitException refusal = fill(device, buffers);
        if (refusal.errno() != ENOMEM || !refusal.remedy().contains("--memlock=")) {
          return refusal.toString();
        }
        int held = buffers.size();
        if (held > 0) {
          LabDevice.run(buffers.remove(0).free());
          fill(device, buffers);
        }
        LabDevice.countsExactly(device);
        return held == buffers.size() ? "" + held : held + " and then " + buffers.size();
      } finally {
        LabDevice.run(device.close());
      }
    }

    private static MemoryLockLimitException fill(VfioDevice device, List<DmaBuffer> buffers) {
      while (buffers.size() < 100) {
        try {
          buffers.add(LabDevice.get(device.dma().allocate(PAGE)));
        } catch (MemoryLockLimitException e) {
          return e;
        }
      }
      throw new IllegalStateException("no limit");
    }
  }
}
