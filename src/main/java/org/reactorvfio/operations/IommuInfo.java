package org.reactorvfio.operations;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;

/** What an iommufd tells about the IOMMU in front of a device ({@code IOMMU_GET_HW_INFO}). Immutable. */
public final class IommuInfo {
  /** Kinds of IOMMUs. */
  public enum Kind {
    /** One that does not describe itself, or that is not known here. */
    OTHER,
    /** Intel VT-d. */
    INTEL_VTD,
    /** Arm SMMUv3. */
    ARM_SMMUV3,
    /** NVIDIA's command queues beside an SMMUv3. */
    TEGRA241_CMDQV,
    /** AMD-Vi. */
    AMD
  }

  private static final long DIRTY_TRACKING = 1;
  private static final long PASID_EXEC = 1 << 1;
  private static final long PASID_PRIVILEGED = 1 << 2;
  private static final long NO_ATS = 1 << 3;

  private final int type;
  private final long capabilities;
  private final int pasidBits;
  private final byte[] registers;

  /**
   * Creates the answer of a transport.
   *
   * @param type {@code IOMMU_HW_INFO_TYPE_*}
   * @param capabilities {@code IOMMU_HW_CAP_*} bits
   * @param pasidBits how many bits a PASID has, 0 for none
   * @param registers what is particular to the type, in the machine's byte order; copied
   */
  public IommuInfo(int type, long capabilities, int pasidBits, byte[] registers) {
    this.type = type;
    this.capabilities = capabilities;
    this.pasidBits = pasidBits;
    this.registers = registers.clone();
  }

  /**
   * Returns the kind of the IOMMU.
   *
   * @return the kind
   */
  public Kind kind() {
    Kind[] kinds = Kind.values();
    return type > 0 && type < kinds.length ? kinds[type] : Kind.OTHER;
  }

  /**
   * Returns the kernel's number of the kind.
   *
   * @return {@code IOMMU_HW_INFO_TYPE_*}
   */
  public int type() {
    return type;
  }

  /**
   * Tells whether the IOMMU notes which pages a device writes: then dirty tracking works without the device's help.
   *
   * @return true if so
   */
  public boolean dirtyTracking() {
    return (capabilities & DIRTY_TRACKING) != 0;
  }

  /**
   * Returns how many bits the device's PASIDs have.
   *
   * @return the number of bits, 0 if the device cannot be attached with a PASID
   */
  public int pasidBits() {
    return pasidBits;
  }

  /**
   * Tells whether accesses with a PASID can ask to execute.
   *
   * @return true if so
   */
  public boolean pasidExecute() {
    return (capabilities & PASID_EXEC) != 0;
  }

  /**
   * Tells whether accesses with a PASID can be privileged.
   *
   * @return true if so
   */
  public boolean pasidPrivileged() {
    return (capabilities & PASID_PRIVILEGED) != 0;
  }

  /**
   * Tells whether the kernel knows that address translation services cannot be used for the device.
   *
   * @return true if they cannot; false from a kernel that does not tell
   */
  public boolean atsNotSupported() {
    return (capabilities & NO_ATS) != 0;
  }

  /**
   * Returns what is particular to the kind: the IOMMU's capability registers, as the kernel's {@code struct iommu_hw_info_*} lays
   * them out.
   *
   * @return a read-only view in the machine's byte order
   */
  public ByteBuffer registers() {
    return ByteBuffer.wrap(registers).asReadOnlyBuffer().order(ByteOrder.nativeOrder());
  }

  @Override
  public String toString() {
    return "IommuInfo[" + kind() + (dirtyTracking() ? ", dirty tracking" : "") + ", PASIDs of "
        + pasidBits + " bits, " + registers.length + " bytes of registers]";
  }
}
