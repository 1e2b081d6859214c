package org.reactorvfio.kernel;

import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;
import java.util.NavigableSet;
import java.util.TreeSet;
import org.reactorvfio.linux.LinuxException;
import org.reactorvfio.linux.NativeBuffer;
import org.reactorvfio.linux.VfioUapi;
import org.reactorvfio.operations.Capability;

/**
 * Information structures with a capability chain: asks with the fixed part, grows the buffer to what the kernel says it needs,
 * and walks the chain. Its offsets count from the start of the structure.
 */
final class InfoCapabilities {
  /** The kernel's own limit is far below; a longer answer is a broken one. */
  private static final int LARGEST = 1 << 20;

  private static final int ATTEMPTS = 8;

  private InfoCapabilities() {}

  /** What an information structure is, beside its {@code argsz} at offset 0. */
  record Layout(String name, int request, int size, int flagsOffset, int capsFlag, int capOffset) {}

  /** A question: fills in the input fields of a fresh structure. */
  interface Question {
    void fill(ByteBuffer structure);
  }

  /** Asks until the chain fits; it may change between two calls. */
  static NativeBuffer ask(Fd fd, Layout layout, Question question) throws LinuxException {
    int size = layout.size();
    NativeBuffer structure = NativeBuffer.allocate(size);
    for (int attempt = 0; attempt < ATTEMPTS; attempt++) {
      structure = NativeBuffer.allocate(size);
      structure.bytes().putInt(0, size);
      question.fill(structure.bytes());
      fd.ioctl(layout.name(), layout.request(), structure);
      int needed = structure.bytes().getInt(0);
      if (needed <= size || needed > LARGEST) {
        break;
      }
      size = needed;
    }
    return structure;
  }

  /**
   * Walks the chain of an answer.
   *
   * @throws LinuxException with EPROTO if the chain leaves the structure, runs in a circle or has capabilities inside of others'
   *     headers
   */
  static List<Capability> walk(NativeBuffer structure, Layout layout) throws LinuxException {
    ByteBuffer bytes = structure.bytes();
    List<Capability> found = new ArrayList<>();
    if ((bytes.getInt(layout.flagsOffset()) & layout.capsFlag()) == 0) {
      return found;
    }
    List<Integer> offsets = new ArrayList<>();
    NavigableSet<Integer> sorted = new TreeSet<>();
    for (int at = bytes.getInt(layout.capOffset());
        at != 0;
        at = bytes.getInt(at + VfioUapi.INFO_CAP_HEADER__NEXT)) {
      if (at < layout.size()
          || at > structure.size() - VfioUapi.INFO_CAP_HEADER__SIZE
          || !sorted
              .subSet(
                  at - VfioUapi.INFO_CAP_HEADER__SIZE,
                  false,
                  at + VfioUapi.INFO_CAP_HEADER__SIZE,
                  false)
              .isEmpty()) {
        throw KernelErrors.malformed(
            layout.name(),
            "the capability chain is broken at offset " + at + " of " + structure.size());
      }
      offsets.add(at);
      sorted.add(at);
    }
    for (int at : offsets) {
      Integer next = sorted.higher(at);
      int end = next == null ? structure.size() : next;
      byte[] content = new byte[end - at - VfioUapi.INFO_CAP_HEADER__SIZE];
      bytes.get(at + VfioUapi.INFO_CAP_HEADER__SIZE, content);
      found.add(new Capability(
          Short.toUnsignedInt(bytes.getShort(at + VfioUapi.INFO_CAP_HEADER__ID)),
          Short.toUnsignedInt(bytes.getShort(at + VfioUapi.INFO_CAP_HEADER__VERSION)),
          content));
    }
    return found;
  }
}
