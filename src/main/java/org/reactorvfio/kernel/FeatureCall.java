package org.reactorvfio.kernel;

import static org.reactorvfio.linux.VfioUapi.*;

import java.nio.ByteBuffer;
import org.reactorvfio.linux.LinuxException;
import org.reactorvfio.linux.NativeBuffer;

/** A feature of a device, asked for or changed by what the library itself knows of its data. */
interface FeatureCall {
  String NAME = "VFIO_DEVICE_FEATURE";

  /** Fills in the data behind the header. */
  void fill(ByteBuffer data);

  /** Asks, and returns the data behind the header as the kernel left it. */
  static ByteBuffer ask(Fd device, int flags, int size, FeatureCall call) throws LinuxException {
    NativeBuffer structure = NativeBuffer.allocate(DEVICE_FEATURE__SIZE + size);
    structure
        .bytes()
        .putInt(DEVICE_FEATURE__ARGSZ, DEVICE_FEATURE__SIZE + size)
        .putInt(DEVICE_FEATURE__FLAGS, flags);
    ByteBuffer data = structure
        .bytes()
        .slice(DEVICE_FEATURE__SIZE, size)
        .order(structure.bytes().order());
    call.fill(data);
    device.ioctl(NAME, VFIO_DEVICE_FEATURE, structure);
    return data;
  }
}
