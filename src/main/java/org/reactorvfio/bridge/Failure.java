package org.reactorvfio.bridge;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.reactorvfio.AddressSpaceConflictException;
import org.reactorvfio.DescriptorLimitException;
import org.reactorvfio.DeviceBusyException;
import org.reactorvfio.DeviceClosedException;
import org.reactorvfio.DeviceLostException;
import org.reactorvfio.DeviceNotFoundException;
import org.reactorvfio.DriverNotBoundException;
import org.reactorvfio.GroupNotViableException;
import org.reactorvfio.InsufficientVectorsException;
import org.reactorvfio.InterruptConflictException;
import org.reactorvfio.MappingLimitException;
import org.reactorvfio.MemoryLockLimitException;
import org.reactorvfio.MigrationDataException;
import org.reactorvfio.MigrationEndedException;
import org.reactorvfio.NoIommuException;
import org.reactorvfio.NotOwnedException;
import org.reactorvfio.NotSupportedException;
import org.reactorvfio.OperatorAbsentException;
import org.reactorvfio.OperatorConflictException;
import org.reactorvfio.PermissionDeniedException;
import org.reactorvfio.RegionUnavailableException;
import org.reactorvfio.VectorResizeException;
import org.reactorvfio.VfTokenException;
import org.reactorvfio.VfioException;

/**
 * A failure as it crosses the wire: its type's name and what it says. It comes out as the same type. What is not one of the
 * library's, but for the arguments that a caller got wrong, crosses without its text: that may tell more of the process than a
 * remote user is to know.
 *
 * @param type the name of the type, one of {@link #TYPES}, the arguments' or the state's
 * @param requested how many vectors were wanted, where that is what failed
 * @param available how many there are then
 */
record Failure(
    String type,
    String operation,
    String device,
    int errno,
    String problem,
    String remedy,
    int requested,
    int available) {
  private interface Maker {
    VfioException make(String operation, String device, int errno, String problem, String remedy);
  }

  private static final String GENERAL = "VfioException";
  private static final String VECTORS = "InsufficientVectorsException";
  private static final String ARGUMENT = "IllegalArgumentException";
  private static final String STATE = "IllegalStateException";

  /** Subtypes behind their own supertypes lose to them: the exact class decides. */
  private static final Map<String, Maker> TYPES = types();

  private static Map<String, Maker> types() {
    Map<String, Maker> types = new LinkedHashMap<>();
    types.put(GENERAL, VfioException::new);
    types.put("AddressSpaceConflictException", AddressSpaceConflictException::new);
    types.put("DescriptorLimitException", DescriptorLimitException::new);
    types.put("DeviceBusyException", DeviceBusyException::new);
    types.put("DeviceClosedException", DeviceClosedException::new);
    types.put("DeviceLostException", DeviceLostException::new);
    types.put("DeviceNotFoundException", DeviceNotFoundException::new);
    types.put("DriverNotBoundException", DriverNotBoundException::new);
    types.put("GroupNotViableException", GroupNotViableException::new);
    types.put("InterruptConflictException", InterruptConflictException::new);
    types.put("MappingLimitException", MappingLimitException::new);
    types.put("MemoryLockLimitException", MemoryLockLimitException::new);
    types.put("MigrationDataException", MigrationDataException::new);
    types.put("MigrationEndedException", MigrationEndedException::new);
    types.put("NoIommuException", NoIommuException::new);
    types.put("NotOwnedException", NotOwnedException::new);
    types.put("NotSupportedException", NotSupportedException::new);
    types.put("OperatorAbsentException", OperatorAbsentException::new);
    types.put("OperatorConflictException", OperatorConflictException::new);
    types.put("PermissionDeniedException", PermissionDeniedException::new);
    types.put("RegionUnavailableException", RegionUnavailableException::new);
    types.put("VectorResizeException", VectorResizeException::new);
    types.put("VfTokenException", VfTokenException::new);
    return types;
  }

  /** The names of all types that cross the wire. */
  static List<String> names() {
    List<String> names = new ArrayList<>(TYPES.keySet());
    names.addAll(List.of(VECTORS, ARGUMENT, STATE));
    return names;
  }

  /** Describes a failure. */
  static Failure of(Throwable e, String operation, String device) {
    if (e instanceof InsufficientVectorsException vectors) {
      return new Failure(
          VECTORS,
          vectors.operation(),
          vectors.device(),
          vectors.errno(),
          vectors.problem(),
          vectors.remedy(),
          vectors.requested(),
          vectors.available());
    }
    if (e instanceof VfioException known) {
      return new Failure(
          nameOf(known.getClass()),
          known.operation(),
          known.device(),
          known.errno(),
          known.problem(),
          known.remedy(),
          0,
          0);
    }
    if (e instanceof IllegalArgumentException || e instanceof IndexOutOfBoundsException) {
      return new Failure(ARGUMENT, operation, device, 0, String.valueOf(e.getMessage()), "", 0, 0);
    }
    if (e instanceof IllegalStateException) {
      return new Failure(STATE, operation, device, 0, String.valueOf(e.getMessage()), "", 0, 0);
    }
    return new Failure(
        GENERAL,
        operation,
        device,
        0,
        "the process that owns the device failed",
        "see its log for the cause",
        0,
        0);
  }

  /** The name of the nearest type that crosses the wire. */
  private static String nameOf(Class<?> type) {
    Class<?> known = type;
    while (known != null && !TYPES.containsKey(known.getSimpleName())) {
      known = known.getSuperclass();
    }
    return known == null ? GENERAL : known.getSimpleName();
  }

  /** Makes the exception that this describes. */
  RuntimeException toException() {
    if (type.equals(VECTORS)) {
      return new InsufficientVectorsException(operation, device, requested, available);
    }
    if (type.equals(ARGUMENT)) {
      return new IllegalArgumentException(problem);
    }
    if (type.equals(STATE)) {
      return new IllegalStateException(problem);
    }
    Maker maker = TYPES.getOrDefault(type, VfioException::new);
    return maker.make(operation, device, errno, problem, remedy);
  }

  void write(WireWriter out) {
    out.text(type).text(operation).text(device).i32(errno).text(problem).text(remedy);
    out.i32(requested).i32(available);
  }

  static Failure read(WireReader in) {
    String type = in.text("a failure's type");
    if (!names().contains(type)) {
      throw new MalformedFrameException("no failure has this type");
    }
    return new Failure(
        type,
        in.text("a failure's operation"),
        in.text("a failure's device"),
        in.i32("a failure's errno"),
        in.text("a failure's problem"),
        in.text("a failure's remedy"),
        in.i32("a number of vectors"),
        in.i32("a number of vectors"));
  }
}
